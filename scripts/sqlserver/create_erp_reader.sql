-- A login for PO Tracking that can read what the mapping names, and nothing else.
--
-- Run it on the ERP's server as an administrator, with sqlcmd (or in SSMS with "SQLCMD Mode" on):
--
--   set PASSWORD=...        (PowerShell: $env:PASSWORD = "..."; Linux: export PASSWORD=...)
--   sqlcmd -S erp.example.com -E -b -i create_erp_reader.sql -v ERP="erp" READER="po_reader"
--
-- sqlcmd takes PASSWORD from the environment, so that it stands in no list of processes. It must not
-- contain an apostrophe. For a Windows account as READER ("DOMAIN\account") set it to anything.
-- Then name the login in ERP_DATABASE_URL and let `manage.py check_erp` prove that it cannot write.
-- Running the script again does no harm. To take everything back: DROP USER and DROP LOGIN.

:on error exit
SET NOCOUNT ON;

-- 1. The login.
IF SUSER_ID(N'$(READER)') IS NULL AND CHARINDEX(N'\', N'$(READER)') > 0
    CREATE LOGIN [$(READER)] FROM WINDOWS WITH DEFAULT_DATABASE = [$(ERP)];
IF SUSER_ID(N'$(READER)') IS NULL
    CREATE LOGIN [$(READER)] WITH PASSWORD = N'$(PASSWORD)', DEFAULT_DATABASE = [$(ERP)], CHECK_POLICY = ON;
GO

USE [$(ERP)];
GO

IF DATABASE_PRINCIPAL_ID(N'$(READER)') IS NULL
    CREATE USER [$(READER)] FOR LOGIN [$(READER)];
GO

-- 2. What it may read: one line for each table and view of the mapping, receipts and joined tables
--    included. For a view the view is enough; for a synonym, grant it and the table behind it.
--    Write your own names here. For tables of another database run the script again with its name.
GRANT SELECT ON [dbo].[vPurchaseOrderLines] TO [$(READER)];
-- GRANT SELECT ON [dbo].[GoodsReceipts] TO [$(READER)];
GO

-- 3. Belt and braces: refused even if somebody adds the login to a role later.
ALTER ROLE db_denydatawriter ADD MEMBER [$(READER)];
GO

-- 4. Not needed, but better: one moment's view of the data for the whole night's reading, without
--    locks, if every database of the mapping allows it. Costs the ERP some space in tempdb, so ask
--    its administrator first.
-- ALTER DATABASE [$(ERP)] SET ALLOW_SNAPSHOT_ISOLATION ON;
GO

-- 5. What the login was granted; the list should say CONNECT, and SELECT on your tables.
SELECT state_desc, permission_name, OBJECT_SCHEMA_NAME(major_id) AS [schema], OBJECT_NAME(major_id) AS [object]
FROM sys.database_permissions
WHERE grantee_principal_id = DATABASE_PRINCIPAL_ID(N'$(READER)');
GO

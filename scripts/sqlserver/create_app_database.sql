-- The database of PO Tracking itself, and its login.
--
-- Run it on the application's server as an administrator, with sqlcmd (or in SSMS with "SQLCMD Mode"
-- on):
--
--   set PASSWORD=...        (PowerShell: $env:PASSWORD = "..."; Linux: export PASSWORD=...)
--   sqlcmd -S sqlserver.example.com -E -b -i create_app_database.sql -v APP="po_tracking" OWNER="po_app"
--
-- sqlcmd takes PASSWORD from the environment, so that it stands in no list of processes. It must not
-- contain an apostrophe. For a Windows account as OWNER ("DOMAIN\account") set it to anything.
-- Then name both in DATABASE_URL and run `manage.py migrate`. Running the script again does no harm.

:on error exit
SET NOCOUNT ON;

IF DB_ID(N'$(APP)') IS NULL
BEGIN
    CREATE DATABASE [$(APP)];
    -- A nightly full backup is what docs/operations.md describes. FULL instead lets you go back to
    -- any minute, and needs regular backups of the log, or the log grows without end.
    ALTER DATABASE [$(APP)] SET RECOVERY SIMPLE;
END
GO

-- Pages go on while a night is applied, and readers see the old night until it is committed.
-- `manage.py doctor` reports an error when one of these two is off.
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = N'$(APP)' AND is_read_committed_snapshot_on = 0)
    ALTER DATABASE [$(APP)] SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE;
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = N'$(APP)' AND snapshot_isolation_state = 0)
    ALTER DATABASE [$(APP)] SET ALLOW_SNAPSHOT_ISOLATION ON;
GO

IF SUSER_ID(N'$(OWNER)') IS NULL AND CHARINDEX(N'\', N'$(OWNER)') > 0
    CREATE LOGIN [$(OWNER)] FROM WINDOWS WITH DEFAULT_DATABASE = [$(APP)];
IF SUSER_ID(N'$(OWNER)') IS NULL
    CREATE LOGIN [$(OWNER)] WITH PASSWORD = N'$(PASSWORD)', DEFAULT_DATABASE = [$(APP)], CHECK_POLICY = ON;
GO

-- `manage.py backup` reads each backup once more to check it (RESTORE VERIFYONLY), which needs this.
-- A restore, which an update that fails does by itself, needs more: while you update, let the login
-- be a member of dbcreator, and take it out again afterwards:
--   ALTER SERVER ROLE dbcreator ADD MEMBER [po_app];
USE [master];
GRANT CREATE ANY DATABASE TO [$(OWNER)];
GO

USE [$(APP)];
GO

IF DATABASE_PRINCIPAL_ID(N'$(OWNER)') IS NULL
    CREATE USER [$(OWNER)] FOR LOGIN [$(OWNER)];
GO

-- Reading and writing rows, and making tables for `migrate`. Not db_owner: with these roles the
-- account can still not drop the database or give rights to others.
ALTER ROLE db_datareader ADD MEMBER [$(OWNER)];
ALTER ROLE db_datawriter ADD MEMBER [$(OWNER)];
ALTER ROLE db_ddladmin ADD MEMBER [$(OWNER)];
ALTER ROLE db_backupoperator ADD MEMBER [$(OWNER)];
GO

SELECT name, is_read_committed_snapshot_on, snapshot_isolation_state_desc, compatibility_level, recovery_model_desc
FROM sys.databases WHERE name = N'$(APP)';
GO

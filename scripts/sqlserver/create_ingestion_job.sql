-- A SQL Server Agent job that runs the nightly ingestion.
--
-- Run it on the server whose Agent shall start PO Tracking; PO Tracking must be installed on that
-- same machine. With sqlcmd (or in SSMS with "SQLCMD Mode" on):
--
--   sqlcmd -S sqlserver.example.com -E -b -i create_ingestion_job.sql -v FOLDER="D:\PO Tracking" OPERATOR="PO admin" PROXY="PO Tracking" TIME="013000"
--
--   FOLDER    the folder of PO Tracking, with scripts\run_ingestion.bat
--   OPERATOR  an operator of the Agent with an e-mail address (sp_add_operator); told of each failure
--   PROXY     a proxy of the Agent for operating system commands (sp_add_proxy), whose account may
--             read FOLDER and .env, and write the log folder. "-" runs it as the Agent's own account
--   TIME      when, as HHMMSS
--
-- Running the script again makes the job anew. Exit codes in the job's history: 0 success or partial,
-- 1 failed, 2 wrong usage, 4 another run is active (docs/operations.md).

:on error exit
USE [msdb];
GO

SET NOCOUNT ON;
SET XACT_ABORT ON;
DECLARE @job nvarchar(128) = N'PO Tracking: nightly ingestion';
-- The Agent takes at most 200 characters for the output file.
DECLARE @folder nvarchar(170) = N'$(FOLDER)';
-- Two pairs of quotes: the command interpreter takes the outer one away.
DECLARE @command nvarchar(600) = N'cmd.exe /c ""' + @folder + N'\scripts\run_ingestion.bat""';
DECLARE @output nvarchar(600) = @folder + N'\var\log\agent_ingestion.log';
DECLARE @proxy nvarchar(128) = NULLIF(N'$(PROXY)', N'-');
DECLARE @start int = CAST(N'$(TIME)' AS int);
DECLARE @server nvarchar(128) = CAST(SERVERPROPERTY(N'ServerName') AS nvarchar(128));

-- The Agent's procedures report by RAISERROR, which XACT_ABORT does not heed: without TRY a wrong
-- operator or proxy would leave the old job deleted and the new one half made.
BEGIN TRY
    BEGIN TRANSACTION;

    IF EXISTS (SELECT 1 FROM dbo.sysjobs WHERE name = @job)
        EXEC dbo.sp_delete_job @job_name = @job, @delete_unused_schedule = 1;

    -- Levels: 2 is "when the job fails".
    EXEC dbo.sp_add_job
        @job_name = @job,
        @description = N'Reads the ERP (read-only) and brings PO Tracking up to date.',
        @notify_level_eventlog = 2,
        @notify_level_email = 2,
        @notify_email_operator_name = N'$(OPERATOR)';

    -- No retry here: the command itself tries again what is worth it. Flags: 2 appends to the output
    -- file, 32 also keeps the output in the job's history.
    EXEC dbo.sp_add_jobstep
        @job_name = @job,
        @step_name = N'run_ingestion',
        @subsystem = N'CmdExec',
        @command = @command,
        @cmdexec_success_code = 0,
        @retry_attempts = 0,
        @on_success_action = 1,
        @on_fail_action = 2,
        @output_file_name = @output,
        @flags = 34,
        @proxy_name = @proxy;

    -- Every day (4), each 1 day.
    EXEC dbo.sp_add_jobschedule
        @job_name = @job,
        @name = N'PO Tracking: every night',
        @freq_type = 4,
        @freq_interval = 1,
        @active_start_time = @start;

    EXEC dbo.sp_add_jobserver @job_name = @job, @server_name = @server;

    COMMIT TRANSACTION;
END TRY
BEGIN CATCH
    IF @@TRANCOUNT > 0
        ROLLBACK TRANSACTION;
    THROW;
END CATCH;
GO

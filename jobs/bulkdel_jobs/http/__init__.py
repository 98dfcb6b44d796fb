"""The job `http`: any API, described by the table [http] of the config file. docs/http-job.md explains the table."""

"""The job `delete-users`, the API that it calls, and a sandbox. May import `bulkdel`, which never imports this."""

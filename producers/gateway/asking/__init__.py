"""From a request of any wire format to a job, and from the job's end to a response."""

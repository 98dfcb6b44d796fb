"""Ready-made parts of a job, for any API. A job takes those that fit, and writes the rest itself.

| module | content |
|---|---|
| simple | a whole job that deletes one id a request; a subclass says the path and where the key is |
| auth, tokens, sigv4 | credentials: a key in a header, HTTP basic, OAuth2 client credentials, AWS signatures |
| secret | where a secret comes from: an environment variable or a 0600 file |
| statuses | the table from HTTP status to decision |
| paths | an id as one segment of a path, and the ids that cannot be one |
| json_values | values of a JSON body by their path |
| answers | an answer per id in a body |
| look_ups | look-ups of one id a request, or by a list call; the list call that is their control |
| pages | the next page of a list: by number, by cursor, by the header `Link` |
| target | `bulkdel.job.Target` of an API whose pool is its address; a job without a sandbox |
"""

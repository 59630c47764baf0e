-- What is left of collapsed runs, from the log's local lines: a row for each line that keeps bases of a chain.

DELETE FROM internal.bases;

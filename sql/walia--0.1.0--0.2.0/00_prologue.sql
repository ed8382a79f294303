-- Stops psql where this file is run by hand.
\echo Use "ALTER EXTENSION walia UPDATE" to load this file. \quit

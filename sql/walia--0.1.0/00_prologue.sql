-- Stops psql where this file is run by hand.
\echo Use "CREATE EXTENSION walia" to load this file. \quit

-- Casts between the types.

CREATE FUNCTION vecf32_to_vecf16(vecf32, integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf32_convert' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_to_vecf32(vecf16, integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf16_convert' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

-- Only one direction is implicit, as between pgvector's types: operators would be ambiguous otherwise.
CREATE CAST (vecf32 AS vecf16) WITH FUNCTION vecf32_to_vecf16(vecf32, integer, boolean) AS IMPLICIT;
CREATE CAST (vecf16 AS vecf32) WITH FUNCTION vecf16_to_vecf32(vecf16, integer, boolean) AS ASSIGNMENT;

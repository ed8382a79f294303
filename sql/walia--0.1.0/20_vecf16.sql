-- vecf16: a vector of half-precision numbers (IEEE 754 binary16).

CREATE TYPE vecf16;

CREATE FUNCTION vecf16_in(cstring, oid, integer) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_input' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_out(vecf16) RETURNS cstring
    AS 'MODULE_PATHNAME', 'vecf16_output' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_recv(internal, oid, integer) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_receive' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_send(vecf16) RETURNS bytea
    AS 'MODULE_PATHNAME', 'vecf16_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_typmod_in(cstring[]) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf16_typmod_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE vecf16 (
    INPUT = vecf16_in,
    OUTPUT = vecf16_out,
    RECEIVE = vecf16_recv,
    SEND = vecf16_send,
    TYPMOD_IN = vecf16_typmod_in,
    STORAGE = external
);
COMMENT ON TYPE vecf16 IS 'vector of half-precision numbers';

-- Casts. The first one enforces the number of dimensions where a value is assigned to vecf16(n).

CREATE FUNCTION vecf16(vecf16, integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_coerce' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf16(integer[], integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf16(real[], integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf16(double precision[], integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf16(numeric[], integer, boolean) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_to_float4(vecf16, integer, boolean) RETURNS real[]
    AS 'MODULE_PATHNAME', 'vecf16_to_float4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (vecf16 AS vecf16) WITH FUNCTION vecf16(vecf16, integer, boolean) AS IMPLICIT;
CREATE CAST (integer[] AS vecf16) WITH FUNCTION array_to_vecf16(integer[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (real[] AS vecf16) WITH FUNCTION array_to_vecf16(real[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (double precision[] AS vecf16)
    WITH FUNCTION array_to_vecf16(double precision[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (numeric[] AS vecf16) WITH FUNCTION array_to_vecf16(numeric[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (vecf16 AS real[]) WITH FUNCTION vecf16_to_float4(vecf16, integer, boolean) AS ASSIGNMENT;

-- Arithmetic.

CREATE FUNCTION vecf16_add(vecf16, vecf16) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_add' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_sub(vecf16, vecf16) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_sub' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_mul(vecf16, vecf16) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_mul' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_concat(vecf16, vecf16) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_concat' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR + (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_add, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_sub);
CREATE OPERATOR * (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_mul, COMMUTATOR = *);
CREATE OPERATOR || (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_concat);
COMMENT ON OPERATOR + (vecf16, vecf16) IS 'add by element';
COMMENT ON OPERATOR - (vecf16, vecf16) IS 'subtract by element';
COMMENT ON OPERATOR * (vecf16, vecf16) IS 'multiply by element';
COMMENT ON OPERATOR || (vecf16, vecf16) IS 'concatenate';

-- Comparison, by element and then by length.

CREATE FUNCTION vecf16_lt(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_le(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_eq(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_ne(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_ge(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_gt(vecf16, vecf16) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf16_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_cmp(vecf16, vecf16) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf16_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR < (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR <= (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR = (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR <> (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR >= (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);
CREATE OPERATOR > (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);

CREATE OPERATOR CLASS vecf16_ops DEFAULT FOR TYPE vecf16 USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 vecf16_cmp(vecf16, vecf16);

-- Distances.

CREATE FUNCTION l2_distance(vecf16, vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION inner_product(vecf16, vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_negative_inner_product(vecf16, vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cosine_distance(vecf16, vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l1_distance(vecf16, vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR <~> (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = cosine_distance, COMMUTATOR = <~>);
CREATE OPERATOR <=> (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = cosine_distance, COMMUTATOR = <=>);
CREATE OPERATOR <-> (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = l2_distance, COMMUTATOR = <->);
CREATE OPERATOR <#> (
    LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = vecf16_negative_inner_product, COMMUTATOR = <#>
);
CREATE OPERATOR <+> (LEFTARG = vecf16, RIGHTARG = vecf16, FUNCTION = l1_distance, COMMUTATOR = <+>);
COMMENT ON OPERATOR <~> (vecf16, vecf16) IS 'cosine distance';
COMMENT ON OPERATOR <=> (vecf16, vecf16) IS 'cosine distance';
COMMENT ON OPERATOR <-> (vecf16, vecf16) IS 'Euclidean distance';
COMMENT ON OPERATOR <#> (vecf16, vecf16) IS 'negative inner product';
COMMENT ON OPERATOR <+> (vecf16, vecf16) IS 'sum of absolute differences';

-- Functions.

CREATE FUNCTION vector_dims(vecf16) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf16_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_norm(vecf16) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf16_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_normalize(vecf16) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION subvector(vecf16, integer, integer) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION binary_quantize(vecf16) RETURNS bit
    AS 'MODULE_PATHNAME', 'vecf16_binary_quantize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(vecf16) IS 'number of dimensions';
COMMENT ON FUNCTION l2_norm(vecf16) IS 'Euclidean norm';
COMMENT ON FUNCTION l2_normalize(vecf16) IS 'the vector of norm 1 in the same direction';
COMMENT ON FUNCTION subvector(vecf16, integer, integer) IS 'the elements from a position, as many as the count says';
COMMENT ON FUNCTION binary_quantize(vecf16) IS 'a bit for each dimension: whether the element is above zero';

-- Aggregates.

CREATE FUNCTION vecf16_accum(double precision[], vecf16) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'vecf16_accum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_combine(double precision[], double precision[]) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'vecf16_combine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf16_avg(double precision[]) RETURNS vecf16
    AS 'MODULE_PATHNAME', 'vecf16_avg' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE AGGREGATE avg(vecf16) (
    SFUNC = vecf16_accum, STYPE = double precision[], INITCOND = '{0}',
    COMBINEFUNC = vecf16_combine, FINALFUNC = vecf16_avg, PARALLEL = SAFE
);
CREATE AGGREGATE sum(vecf16) (
    SFUNC = vecf16_add, STYPE = vecf16, COMBINEFUNC = vecf16_add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(vecf16) IS 'the mean of each dimension';
COMMENT ON AGGREGATE sum(vecf16) IS 'the sum of each dimension';

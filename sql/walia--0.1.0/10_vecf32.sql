-- vecf32: a vector of float4.

CREATE TYPE vecf32;

CREATE FUNCTION vecf32_in(cstring, oid, integer) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_input' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_out(vecf32) RETURNS cstring
    AS 'MODULE_PATHNAME', 'vecf32_output' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_recv(internal, oid, integer) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_receive' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_send(vecf32) RETURNS bytea
    AS 'MODULE_PATHNAME', 'vecf32_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_typmod_in(cstring[]) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf32_typmod_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE vecf32 (
    INPUT = vecf32_in,
    OUTPUT = vecf32_out,
    RECEIVE = vecf32_recv,
    SEND = vecf32_send,
    TYPMOD_IN = vecf32_typmod_in,
    STORAGE = external
);
COMMENT ON TYPE vecf32 IS 'vector of single-precision numbers';

-- Casts. The first one enforces the number of dimensions where a value is assigned to vecf32(n).

CREATE FUNCTION vecf32(vecf32, integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_coerce' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf32(integer[], integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf32(real[], integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf32(double precision[], integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vecf32(numeric[], integer, boolean) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_from_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_to_float4(vecf32, integer, boolean) RETURNS real[]
    AS 'MODULE_PATHNAME', 'vecf32_to_float4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (vecf32 AS vecf32) WITH FUNCTION vecf32(vecf32, integer, boolean) AS IMPLICIT;
CREATE CAST (integer[] AS vecf32) WITH FUNCTION array_to_vecf32(integer[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (real[] AS vecf32) WITH FUNCTION array_to_vecf32(real[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (double precision[] AS vecf32)
    WITH FUNCTION array_to_vecf32(double precision[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (numeric[] AS vecf32) WITH FUNCTION array_to_vecf32(numeric[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (vecf32 AS real[]) WITH FUNCTION vecf32_to_float4(vecf32, integer, boolean) AS IMPLICIT;

-- Arithmetic.

CREATE FUNCTION vecf32_add(vecf32, vecf32) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_add' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_sub(vecf32, vecf32) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_sub' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_mul(vecf32, vecf32) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_mul' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_concat(vecf32, vecf32) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_concat' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR + (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_add, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_sub);
CREATE OPERATOR * (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_mul, COMMUTATOR = *);
CREATE OPERATOR || (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_concat);
COMMENT ON OPERATOR + (vecf32, vecf32) IS 'add by element';
COMMENT ON OPERATOR - (vecf32, vecf32) IS 'subtract by element';
COMMENT ON OPERATOR * (vecf32, vecf32) IS 'multiply by element';
COMMENT ON OPERATOR || (vecf32, vecf32) IS 'concatenate';

-- Comparison, by element and then by length.

CREATE FUNCTION vecf32_lt(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_le(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_eq(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_ne(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_ge(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_gt(vecf32, vecf32) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecf32_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_cmp(vecf32, vecf32) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf32_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR < (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR <= (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR = (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR <> (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR >= (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);
CREATE OPERATOR > (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);

CREATE OPERATOR CLASS vecf32_ops DEFAULT FOR TYPE vecf32 USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 vecf32_cmp(vecf32, vecf32);

-- Distances.

CREATE FUNCTION l2_distance(vecf32, vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION inner_product(vecf32, vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_negative_inner_product(vecf32, vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_negative_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION cosine_distance(vecf32, vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l1_distance(vecf32, vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR <~> (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = cosine_distance, COMMUTATOR = <~>);
CREATE OPERATOR <=> (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = cosine_distance, COMMUTATOR = <=>);
CREATE OPERATOR <-> (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = l2_distance, COMMUTATOR = <->);
CREATE OPERATOR <#> (
    LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = vecf32_negative_inner_product, COMMUTATOR = <#>
);
CREATE OPERATOR <+> (LEFTARG = vecf32, RIGHTARG = vecf32, FUNCTION = l1_distance, COMMUTATOR = <+>);
COMMENT ON OPERATOR <~> (vecf32, vecf32) IS 'cosine distance';
COMMENT ON OPERATOR <=> (vecf32, vecf32) IS 'cosine distance';
COMMENT ON OPERATOR <-> (vecf32, vecf32) IS 'Euclidean distance';
COMMENT ON OPERATOR <#> (vecf32, vecf32) IS 'negative inner product';
COMMENT ON OPERATOR <+> (vecf32, vecf32) IS 'sum of absolute differences';

-- Functions.

CREATE FUNCTION vector_dims(vecf32) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecf32_dims' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_norm(vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_norm(vecf32) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vecf32_norm' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION l2_normalize(vecf32) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION subvector(vecf32, integer, integer) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION binary_quantize(vecf32) RETURNS bit
    AS 'MODULE_PATHNAME', 'vecf32_binary_quantize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(vecf32) IS 'number of dimensions';
COMMENT ON FUNCTION vector_norm(vecf32) IS 'Euclidean norm';
COMMENT ON FUNCTION l2_norm(vecf32) IS 'Euclidean norm';
COMMENT ON FUNCTION l2_normalize(vecf32) IS 'the vector of norm 1 in the same direction';
COMMENT ON FUNCTION subvector(vecf32, integer, integer) IS 'the elements from a position, as many as the count says';
COMMENT ON FUNCTION binary_quantize(vecf32) IS 'a bit for each dimension: whether the element is above zero';

-- Aggregates.

CREATE FUNCTION vecf32_accum(double precision[], vecf32) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'vecf32_accum' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_combine(double precision[], double precision[]) RETURNS double precision[]
    AS 'MODULE_PATHNAME', 'vecf32_combine' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vecf32_avg(double precision[]) RETURNS vecf32
    AS 'MODULE_PATHNAME', 'vecf32_avg' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE AGGREGATE avg(vecf32) (
    SFUNC = vecf32_accum, STYPE = double precision[], INITCOND = '{0}',
    COMBINEFUNC = vecf32_combine, FINALFUNC = vecf32_avg, PARALLEL = SAFE
);
CREATE AGGREGATE sum(vecf32) (
    SFUNC = vecf32_add, STYPE = vecf32, COMBINEFUNC = vecf32_add, PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(vecf32) IS 'the mean of each dimension';
COMMENT ON AGGREGATE sum(vecf32) IS 'the sum of each dimension';

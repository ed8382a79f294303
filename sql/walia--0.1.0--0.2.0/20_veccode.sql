-- veccode: the code of a vector, for btree indexes that carry it.

CREATE TYPE veccode;

CREATE FUNCTION veccode_in(cstring) RETURNS veccode
    AS 'MODULE_PATHNAME', 'veccode_input' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_out(veccode) RETURNS cstring
    AS 'MODULE_PATHNAME', 'veccode_output' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_recv(internal) RETURNS veccode
    AS 'MODULE_PATHNAME', 'veccode_receive' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_send(veccode) RETURNS bytea
    AS 'MODULE_PATHNAME', 'veccode_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE veccode (
    INPUT = veccode_in,
    OUTPUT = veccode_out,
    RECEIVE = veccode_recv,
    SEND = veccode_send,
    STORAGE = external
);
COMMENT ON TYPE veccode IS 'code of a vector, from which distances are estimated';

CREATE FUNCTION walia_code(vecf32, bits integer DEFAULT 2) RETURNS veccode
    AS 'MODULE_PATHNAME', 'vecf32_code' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walia_code(vecf32, integer) IS 'code of a vector, for a btree index';
CREATE FUNCTION walia_code(vecf16, bits integer DEFAULT 2) RETURNS veccode
    AS 'MODULE_PATHNAME', 'vecf16_code' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walia_code(vecf16, integer) IS 'code of a vector, for a btree index';

-- An order of bytes, which means nothing but lets a btree hold codes.

CREATE FUNCTION veccode_lt(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_le(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_eq(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_ne(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_ge(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_gt(veccode, veccode) RETURNS boolean
    AS 'MODULE_PATHNAME', 'veccode_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION veccode_cmp(veccode, veccode) RETURNS integer
    AS 'MODULE_PATHNAME', 'veccode_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR < (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR <= (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR = (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, MERGES
);
CREATE OPERATOR <> (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR >= (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);
CREATE OPERATOR > (
    LEFTARG = veccode, RIGHTARG = veccode, FUNCTION = veccode_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);

-- It does not say that equal codes may share an entry (btequalimage): such an entry has one mark for all of
-- its rows, and where a row is updated again and again and its vector stays, its dead versions could not be
-- marked beside the one that lives. Other rows with the same vector and the same key are few; those without
-- a vector take an entry each.
CREATE OPERATOR CLASS veccode_ops
    DEFAULT FOR TYPE veccode USING btree AS
    OPERATOR 1 <,
    OPERATOR 2 <=,
    OPERATOR 3 =,
    OPERATOR 4 >=,
    OPERATOR 5 >,
    FUNCTION 1 veccode_cmp(veccode, veccode);
COMMENT ON OPERATOR CLASS veccode_ops USING btree IS 'order of bytes, which lets an index carry codes';

-- Distances have a support function so that who plans a query by them has loaded the library, which knows how
-- to use codes.

CREATE FUNCTION walia_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME', 'walia_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION walia_support(internal) IS 'planner support for distances';
ALTER FUNCTION l2_distance(vecf32, vecf32) SUPPORT walia_support;
ALTER FUNCTION vecf32_negative_inner_product(vecf32, vecf32) SUPPORT walia_support;
ALTER FUNCTION cosine_distance(vecf32, vecf32) SUPPORT walia_support;
ALTER FUNCTION l1_distance(vecf32, vecf32) SUPPORT walia_support;
ALTER FUNCTION l2_distance(vecf16, vecf16) SUPPORT walia_support;
ALTER FUNCTION vecf16_negative_inner_product(vecf16, vecf16) SUPPORT walia_support;
ALTER FUNCTION cosine_distance(vecf16, vecf16) SUPPORT walia_support;
ALTER FUNCTION l1_distance(vecf16, vecf16) SUPPORT walia_support;

-- Values of vector and vecf32, and of halfvec and vecf16, are the same bytes.

-- Only one direction is implicit: operators would be ambiguous otherwise. It is this one, so that a column
-- whose type has been changed is compared with the parameters that clients send.
CREATE CAST (vector AS vecf32) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (halfvec AS vecf16) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (vecf32 AS vector) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (vecf16 AS halfvec) WITHOUT FUNCTION AS ASSIGNMENT;

//! What the planner asks of the casts that enforce a number of dimensions: whether they can be left out.

use pgrx::pg_sys;
use pgrx::pg_sys::Datum;

use crate::nodes::NodeRef;

/// The extension whose types have the layout of walia's, and the same type modifiers.
const PGVECTOR: &[u8] = b"vector";

/// What `walia_coercion_support(internal)` answers, the support function of `vecf32(vecf32, integer,
/// boolean)` and its like. ALTER TABLE rewrites no table for a cast that it leaves out.
///
/// # Safety
/// The datum is a request of the planner's, which outlives what is returned.
pub unsafe fn answer(request: Datum) -> Datum {
    // SAFETY: by the caller's promise: a request is a node.
    let request = unsafe { NodeRef::<pg_sys::Node>::new(request.cast_mut_ptr()) };
    let request = request.downcast::<pg_sys::SupportRequestSimplify>();
    let simplified = request.and_then(|request| simplified(request.fcall()));
    simplified.map_or(Datum::null(), |expression| Datum::from(expression.as_ptr()))
}

/// The value of a cast's argument, where that has as many dimensions as the cast demands.
fn simplified<'p>(cast: NodeRef<'p, pg_sys::FuncExpr>) -> Option<NodeRef<'p, pg_sys::Node>> {
    let (value, wanted) = (cast.args().get(0)?, cast.args().get(1)?.downcast::<pg_sys::Const>()?);
    let wanted = (!wanted.constisnull).then(|| wanted.constvalue.value() as i32)?;
    (dimensions(value) == Some(wanted)).then(|| {
        // SAFETY: an expression of the planner's.
        unsafe { NodeRef::new(pg_sys::relabel_to_typmod(value.as_ptr(), wanted)) }
    })
}

/// The number of dimensions that an expression's values have by its type.
fn dimensions(value: NodeRef<pg_sys::Node>) -> Option<i32> {
    let (_, known) = base_type(value);
    known.or_else(|| {
        // Postgres does not know that the modifier means the same on both sides.
        let (inner, known) = base_type(value.downcast::<pg_sys::RelabelType>()?.arg().as_node());
        known.filter(|_| is_of_pgvector(inner))
    })
}

/// The type of an expression, or the one that its domain is over, and the type modifier.
fn base_type(value: NodeRef<pg_sys::Node>) -> (pg_sys::Oid, Option<i32>) {
    // SAFETY: an expression of the planner's; its type exists.
    unsafe {
        let mut modifier = pg_sys::exprTypmod(value.as_ptr());
        let base = pg_sys::getBaseTypeAndTypmod(pg_sys::exprType(value.as_ptr()), &mut modifier);
        (base, (modifier >= 0).then_some(modifier))
    }
}

/// Whether a type is one of pgvector's.
fn is_of_pgvector(type_oid: pg_sys::Oid) -> bool {
    // SAFETY: looks catalogs up, in a transaction. The name is a C string or null.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(pg_sys::TypeRelationId, type_oid);
        let name = pg_sys::get_extension_name(extension);
        !name.is_null() && std::ffi::CStr::from_ptr(name).to_bytes() == PGVECTOR
    }
}

//! What the planner tells the executor of a custom scan, and how that travels in Postgres's nodes.
//!
//! Postgres copies a plan, writes it as text for parallel workers and replaces the columns of its
//! expressions, without knowing what it is for. So there are two lists: of expressions, in which it replaces
//! columns, and of data that it leaves alone. Only this module knows what lies where in them.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{OrRaise, Result, SqlError};
use crate::nodes::{List, NodeRef};

/// Raised whenever the lists change, or the memory that the processes of a parallel scan share. A worker
/// loads the library anew, which may have been replaced since its leader has loaded it.
const VERSION: i64 = 1;

/// What the planner tells the executor.
#[derive(Clone, Copy)]
pub struct Private<'p> {
    /// By which rows are ordered, computed from the columns of the children.
    pub order: NodeRef<'p, pg_sys::Node>,
    /// How many rows are wanted, in a parallel scan.
    pub limit: Option<i64>,
    /// The query vectors that were taken out of the children.
    pub vectors: List<'p, pg_sys::Const>,
}

/// The same as lists.
#[derive(Clone, Copy)]
pub struct Encoded<'p> {
    /// For `custom_exprs`.
    pub expressions: List<'p, pg_sys::Node>,
    /// For `custom_private`.
    pub data: List<'p, pg_sys::Node>,
}

impl<'p> Private<'p> {
    /// As lists, in the current memory context.
    pub fn encode(self) -> Encoded<'p> {
        // SAFETY: a list is a node; none is a null.
        let vectors = unsafe { NodeRef::or_null(self.vectors.as_ptr().cast()) };
        Encoded {
            expressions: [self.order].into_iter().map(Some).collect(),
            data: [Some(bigint(VERSION)), self.limit.map(bigint), vectors].into_iter().collect(),
        }
    }

    /// From a plan. Raises an ERROR where another version of this library has made it.
    pub fn of_plan(scan: NodeRef<'p, pg_sys::CustomScan>) -> Self {
        Self::decode(Encoded { expressions: scan.custom_exprs(), data: scan.custom_private() }).or_raise()
    }

    /// From a path.
    pub fn of_path(path: NodeRef<'p, pg_sys::CustomPath>) -> Self {
        Self::decode(Encoded::of_path(path)).or_raise()
    }

    fn decode(Encoded { expressions, data }: Encoded<'p>) -> Result<Self> {
        let number = |place| {
            let constant = data.get(place)?.downcast::<pg_sys::Const>()?;
            Some(constant.constvalue.value() as i64)
        };
        let (Some(VERSION), Some(order)) = (number(0), expressions.first()) else {
            let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(SqlError::new(
                code,
                "parallel worker has loaded another version of walia than its leader",
            )
            .hint("Reconnect to the server."));
        };
        let vectors = data.get(2).and_then(|vectors| vectors.downcast::<pg_sys::List>());
        // SAFETY: `encode` has put a list of constants there.
        let vectors = unsafe { List::new(vectors.map_or(std::ptr::null_mut(), NodeRef::as_ptr)) };
        Ok(Self { order, limit: number(1), vectors })
    }
}

impl<'p> Encoded<'p> {
    /// Both as one list, as a path keeps them.
    pub fn into_path(self) -> *mut pg_sys::List {
        // SAFETY: lists are nodes; neither is empty.
        let lists = [self.expressions, self.data].map(|list| unsafe { NodeRef::new(list.as_ptr()) });
        lists.into_iter().map(Some).collect::<List<_>>().as_ptr()
    }

    /// From such a list.
    pub fn of_path(path: NodeRef<'p, pg_sys::CustomPath>) -> Self {
        let lists = path.custom_private();
        // SAFETY: `into_path` has put two lists of nodes there.
        let list =
            |place| unsafe { List::new(lists.get(place).map_or(std::ptr::null_mut(), NodeRef::as_ptr)) };
        Self { expressions: list(0), data: list(1) }
    }
}

/// A constant, in the current memory context.
fn bigint<'p>(value: i64) -> NodeRef<'p, pg_sys::Node> {
    let (size, none) = (size_of::<i64>() as i32, pg_sys::InvalidOid);
    // SAFETY: a number of eight bytes is passed by value.
    unsafe {
        let constant = pg_sys::makeConst(pg_sys::INT8OID, -1, none, size, value.into(), false, true);
        NodeRef::new(constant.cast())
    }
}

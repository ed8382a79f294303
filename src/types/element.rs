//! What the types differ in: the element.

use bytemuck::Pod;
use half::f16;
use walia_core::types::ElementType;

/// An element of a vector.
pub trait Element: Pod {
    /// The element type in walia-core.
    const TYPE: ElementType;
    /// The SQL type whose elements these are.
    const NAME: &'static str;

    /// The nearest element, infinite past the range.
    fn from_f32(value: f32) -> Self;
    /// The same value.
    fn to_f32(self) -> f32;
    /// Appends the big-endian bytes.
    fn append_be(self, bytes: &mut Vec<u8>);
    /// The element of `size_of::<Self>()` big-endian bytes.
    fn from_be(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($float:ty, $type:expr, $name:literal, from $from:expr, to $to:expr) => {
        impl Element for $float {
            const TYPE: ElementType = $type;
            const NAME: &'static str = $name;

            fn from_f32(value: f32) -> Self {
                $from(value)
            }

            fn to_f32(self) -> f32 {
                $to(self)
            }

            fn append_be(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_be_bytes());
            }

            fn from_be(bytes: &[u8]) -> Self {
                let mut buffer = [0; size_of::<Self>()];
                buffer.copy_from_slice(bytes);
                Self::from_be_bytes(buffer)
            }
        }
    };
}

element!(f32, ElementType::F32, "vecf32", from std::convert::identity, to std::convert::identity);
element!(f16, ElementType::F16, "vecf16", from f16::from_f32, to f16::to_f32);

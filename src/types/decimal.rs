//! Decimals as float4out prints them.

use std::ffi::{c_char, c_int};

unsafe extern "C" {
    /// Writes the digits of float4out (without a final zero) and returns how many: common/shortest_dec.h.
    fn float_to_shortest_decimal_bufn(value: f32, buffer: *mut c_char) -> c_int;
}

/// Appends the shortest decimal that reads back as `value`, as float4out prints it.
pub fn append_shortest(text: &mut String, value: f32) {
    // FLOAT_SHORTEST_DECIMAL_LEN of the same header.
    let mut buffer = [0u8; 16];
    // SAFETY: the buffer is as long as the function asks for.
    let length = unsafe { float_to_shortest_decimal_bufn(value, buffer.as_mut_ptr().cast()) };
    text.extend(buffer[..length as usize].iter().map(|&byte| char::from(byte)));
}

/// The shortest decimal that reads back as `value`.
pub fn shortest(value: f32) -> String {
    let mut text = String::new();
    append_shortest(&mut text, value);
    text
}

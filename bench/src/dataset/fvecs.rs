//! The `.fvecs` format: every vector is its number of dimensions (i32) and its elements (f32), all
//! little-endian.

use std::io::Read;

use anyhow::{Context, Result, ensure};

use super::Vectors;

/// Reads at most `limit` vectors; also tells whether those are all.
pub fn read(mut reader: impl Read, limit: usize) -> Result<(Vectors, bool)> {
    let mut elements = Vec::new();
    let mut dimensions = None;
    let mut row = 0;
    loop {
        let mut length = Vec::with_capacity(4);
        reader.by_ref().take(4).read_to_end(&mut length)?;
        if length.is_empty() || row == limit {
            let whole = length.is_empty();
            return Ok((Vectors::new(dimensions.context("the file is empty")?, elements)?, whole));
        }
        let length: [u8; 4] = length.as_slice().try_into().context("the last vector is cut off")?;
        let length = usize::try_from(i32::from_le_bytes(length)).context("negative number of dimensions")?;
        let expected = *dimensions.get_or_insert(length);
        ensure!(length == expected, "vector {row} has {length} dimensions, the first has {expected}");
        let mut bytes = vec![0; length * 4];
        reader.read_exact(&mut bytes).context("the last vector is cut off")?;
        elements.extend(bytes.as_chunks().0.iter().map(|element| f32::from_le_bytes(*element)));
        row += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: &[&[f32]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in rows {
            bytes.extend((row.len() as i32).to_le_bytes());
            row.iter().for_each(|element| bytes.extend(element.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn reads_all_or_the_first_rows() {
        let bytes = file(&[&[1.0, -2.5], &[3.0, 4.0]]);
        let all = Vectors::new(2, vec![1.0, -2.5, 3.0, 4.0]).unwrap();
        assert_eq!(read(bytes.as_slice(), usize::MAX).unwrap(), (all.clone(), true));
        assert_eq!(read(bytes.as_slice(), 2).unwrap(), (all, true));
        let first = Vectors::new(2, vec![1.0, -2.5]).unwrap();
        assert_eq!(read(bytes.as_slice(), 1).unwrap(), (first, false));
    }

    #[test]
    fn refuses_what_is_not_whole() {
        let bytes = file(&[&[1.0, 2.0], &[3.0, 4.0]]);
        assert!(read(&bytes[..bytes.len() - 1], usize::MAX).is_err());
        assert!(read(&bytes[..14], usize::MAX).is_err());
        assert!(read(&[][..], usize::MAX).is_err());
        assert!(read(file(&[&[1.0], &[1.0, 2.0]]).as_slice(), usize::MAX).is_err());
        assert!(read((-1i32).to_le_bytes().as_slice(), usize::MAX).is_err());
    }
}

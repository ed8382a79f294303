//! NumPy arrays: two dimensions, C order. The format itself is read and written by `npyz`.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use npyz::{Deserialize, NpyFile, NpyReader, Order, WriterBuilder};

use super::Vectors;

/// Reads at most `limit` rows of a float32, float16, int8 or uint8 array; also tells whether those are all.
pub fn read(reader: impl Read, limit: usize) -> Result<(Vectors, bool)> {
    let file = NpyFile::new(reader)?;
    let (rows, dimensions) = shape(&file)?;
    let take = rows.min(limit) * dimensions;
    let elements = match element_type(&file).as_str() {
        "<f4" => elements::<f32, _>(file, take, |element| element)?,
        "<f2" => elements::<f16, _>(file, take, f16::to_f32)?,
        "|i1" => elements::<i8, _>(file, take, f32::from)?,
        "|u1" => elements::<u8, _>(file, take, f32::from)?,
        other => bail!("elements are \"{other}\", not float32, float16, int8 or uint8"),
    };
    Ok((Vectors::new(dimensions, elements)?, rows <= limit))
}

/// Reads the first `columns` ids of every row of an int32 array.
pub fn read_ids(path: &Path, columns: usize) -> Result<Vec<Vec<usize>>> {
    let file = NpyFile::new(BufReader::new(std::fs::File::open(path)?))?;
    let (_, width) = shape(&file)?;
    ensure!(element_type(&file) == "<i4", "neighbours' ids are not int32");
    ensure!(width >= columns, "there are {width} neighbours a query, {columns} are needed");
    let ids: Vec<i32> = file.into_vec()?;
    let row = |row: &[i32]| row[..columns].iter().map(|id| usize::try_from(*id)).collect();
    ids.chunks_exact(width).map(row).collect::<Result<_, _>>().context("a neighbour's id is negative")
}

/// Writes ids, as many in every row, as an int32 array.
pub fn write_ids(path: &Path, ids: &[Vec<usize>]) -> Result<()> {
    let shape = [ids.len() as u64, ids.first().map_or(0, Vec::len) as u64];
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let mut writer =
        npyz::WriteOptions::<i32>::new().default_dtype().shape(&shape).writer(&mut file).begin_nd()?;
    for id in ids.iter().flatten() {
        writer.push(&i32::try_from(*id)?)?;
    }
    writer.finish()?;
    Ok(file.flush()?)
}

/// Rows and columns.
fn shape<R: Read>(file: &NpyFile<R>) -> Result<(usize, usize)> {
    let &[rows, columns] = file.shape() else {
        bail!("the array has {} dimensions, not 2", file.shape().len())
    };
    ensure!(file.order() == Order::C || rows <= 1 || columns <= 1, "the array is in Fortran order");
    ensure!(columns > 0, "the array has no columns");
    Ok((rows as usize, columns as usize))
}

/// NumPy's name of the element type, such as `<f4`.
fn element_type<R: Read>(file: &NpyFile<R>) -> String {
    match file.dtype() {
        npyz::DType::Plain(name) => name.to_string(),
        other => other.descr(),
    }
}

fn elements<T: Deserialize, R: Read>(
    file: NpyFile<R>,
    take: usize,
    to_f32: impl Fn(T) -> f32,
) -> Result<Vec<f32>> {
    let data: NpyReader<T, R> = file.data()?;
    let elements = data.take(take).map(|element| element.map(&to_f32)).collect::<Result<Vec<_>, _>>()?;
    ensure!(elements.len() == take, "the array is cut off");
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array as NumPy writes it: format 1.0, header padded to 64 bytes.
    fn file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        let padded = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn le<const N: usize>(elements: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
        elements.into_iter().flatten().collect()
    }

    #[test]
    fn reads_every_element_type() {
        let expected = (Vectors::new(3, vec![1.0, -2.0, 3.0, 4.0, 5.0, -6.0]).unwrap(), true);
        let values = expected.0.iter().flatten().copied();
        let f32s = file("<f4", "False", "(2, 3)", &le(values.clone().map(f32::to_le_bytes)));
        let f16s =
            file("<f2", "False", "(2, 3)", &le(values.clone().map(|v| f16::from_f32(v).to_le_bytes())));
        let i8s = file("|i1", "False", "(2, 3)", &le(values.map(|v| (v as i8).to_le_bytes())));
        for bytes in [f32s, f16s, i8s] {
            assert_eq!(read(bytes.as_slice(), usize::MAX).unwrap(), expected);
        }
    }

    #[test]
    fn a_limit_cuts_rows() {
        let bytes = file("|i1", "False", "(2, 2)", &[1, 2, 3, 4]);
        let first = Vectors::new(2, vec![1.0, 2.0]).unwrap();
        assert_eq!(read(bytes.as_slice(), 1).unwrap(), (first, false));
        assert!(read(bytes.as_slice(), 2).unwrap().1);
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let refuse = |bytes: Vec<u8>| read(bytes.as_slice(), usize::MAX).unwrap_err();
        refuse(b"not an array".to_vec());
        refuse(file("<i8", "False", "(1, 1)", &[0; 8]));
        refuse(file("|i1", "False", "(4,)", &[0; 4]));
        refuse(file("|i1", "True", "(2, 2)", &[0; 4]));
        refuse(file("|i1", "False", "(2, 2)", &[0; 3]));
        refuse(file("|i1", "False", "(2, 0)", &[]));
    }

    #[test]
    fn ids_come_back() {
        let path = std::env::temp_dir().join(format!("walia-bench-ids-{}.npy", std::process::id()));
        let ids = vec![vec![3, 1, 2], vec![0, 2, 1]];
        write_ids(&path, &ids).unwrap();
        assert_eq!(read_ids(&path, 3).unwrap(), ids);
        assert_eq!(read_ids(&path, 2).unwrap(), [[3, 1], [0, 2]]);
        assert!(read_ids(&path, 4).is_err());
        std::fs::write(&path, file("<i4", "False", "(1, 1)", &(-1i32).to_le_bytes())).unwrap();
        assert!(read_ids(&path, 1).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}

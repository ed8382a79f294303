//! The functions behind `avg`.

use super::datum::State;
use super::element::Element;
use super::validate::{check_dimensions, check_expected, element, overflow};
use crate::error::Result;

/// The state after one more vector.
pub fn accumulate<E: Element>(mut state: State, vector: &[E]) -> Result<State> {
    let values = vector.iter().map(|element| f64::from(element.to_f32()));
    if state.len() == 1 {
        let count = state[0] + 1.0;
        return Ok(State::new(&std::iter::once(count).chain(values).collect::<Vec<_>>()));
    }
    check_expected(state.len() as i32 - 1, vector.len())?;
    state[0] += 1.0;
    add(&mut state[1..], values)?;
    Ok(state)
}

/// The state after what two states have seen.
pub fn combine<E: Element>(mut a: State, b: &State) -> Result<State> {
    if b.len() > 1 {
        check_dimensions::<E>(b.len() - 1)?;
    }
    if a.len() == 1 {
        let mut values = b.to_vec();
        values[0] += a[0];
        return Ok(State::new(&values));
    }
    check_dimensions::<E>(a.len() - 1)?;
    a[0] += b[0];
    if b.len() > 1 {
        check_expected(a.len() as i32 - 1, b.len() - 1)?;
        add(&mut a[1..], b[1..].iter().copied())?;
    }
    Ok(a)
}

fn add(sums: &mut [f64], values: impl Iterator<Item = f64>) -> Result<()> {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
        if sum.is_infinite() {
            return Err(overflow());
        }
    }
    Ok(())
}

/// The mean; `None` of no vector.
pub fn average<E: Element>(state: &State) -> Result<Option<Vec<E>>> {
    let (count, sums) = (state[0], &state[1..]);
    if count == 0.0 {
        return Ok(None);
    }
    check_dimensions::<E>(sums.len())?;
    sums.iter().map(|sum| element((sum / count) as f32)).collect::<Result<_>>().map(Some)
}

//! Numbers as people read them.

/// Bytes in three digits or so.
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "kB", "MB", "GB", "TB"])
}

/// A rate or an amount in three digits or so.
pub fn amount(amount: f64) -> String {
    scaled(amount, 1000.0, &["", "k", "M", "G", "T"]).replace(' ', "")
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number, 0);
    while number.abs() >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 || number.abs() >= 100.0 { 0 } else { 1 };
    format!("{number:.digits$} {}", units[unit]).trim_end().to_owned()
}

/// A number with commas.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 page`, `2 pages`.
pub fn counted(number: i64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Seconds as `12s`, `3m05s`, `2h10m`, `4d3h`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// Milliseconds, or seconds where there are many.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        10.0..100.0 => format!("{ms:.1} ms"),
        100.0..10_000.0 => format!("{ms:.0} ms"),
        _ => duration(ms / 1000.0),
    }
}

/// A share in percent; what is not all is never shown as 100%.
pub fn percent(share: f64) -> String {
    let percent = (share * 100.0).round();
    let percent = if share < 1.0 { percent.min(99.0) } else { percent };
    format!("{:.0}%", if share > 0.0 { percent.max(1.0) } else { percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 1023.0, 1536.0, 1e6, 3e12].map(bytes),
            ["0 B", "1023 B", "1.5 kB", "977 kB", "2.7 TB"]
        );
        assert_eq!([0.4, 999.0, 1500.0, 123_456.0].map(amount), ["0", "999", "1.5k", "123k"]);
        assert_eq!([0, 999, 1000, -1_234_567].map(count), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!((counted(1, "page"), counted(0, "page")), ("1 page".into(), "0 pages".into()));
        assert_eq!([0.4, 65.0, 7800.0, 100_000.0].map(duration), ["0s", "1m05s", "2h10m", "1d3h"]);
        assert_eq!(
            [0.253, 12.34, 345.6, 20_000.0].map(milliseconds),
            ["0.25 ms", "12.3 ms", "346 ms", "20s"]
        );
    }

    #[test]
    fn only_all_is_all() {
        assert_eq!([0.0, 0.001, 0.5, 0.9999, 1.0].map(percent), ["0%", "1%", "50%", "99%", "100%"]);
    }
}

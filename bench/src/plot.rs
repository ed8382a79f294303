//! A report's recall against time, as an SVG.

use crate::curve::Point;
use crate::report::Report;

/// Size of a drawing.
pub const WIDTH: f64 = 720.0;
/// See [`WIDTH`].
pub const HEIGHT: f64 = 440.0;
/// Left, right, top and bottom edge of the area with the lines.
const AREA: [f64; 4] = [70.0, 610.0, 50.0, 385.0];
/// Recalls that are shown; nobody chooses a setting for less.
const RECALLS: [f64; 2] = [0.80, 1.0];
const RECALL_TICKS: [f64; 5] = [0.80, 0.85, 0.90, 0.95, 1.0];
const COLORS: [&str; 2] = ["#c2410c", "#1d4ed8"];

/// The drawing: a line a system, a point a setting of ef_search, time on a logarithmic scale.
pub fn recall_against_time(report: &Report) -> String {
    let shown: Vec<Vec<Point>> = report.systems.iter().map(|system| shown(&system.sweep)).collect();
    let times = || shown.iter().flatten().map(|point| point.mean_ms);
    let (low, high) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let ticks = ticks(low, high);
    let (Some(&bottom), Some(&top)) = (ticks.first(), ticks.last()) else { return frame(report, "") };

    let mut drawing = String::new();
    for tick in RECALL_TICKS {
        let (x, [_, _, above, below]) = (x_of(tick), AREA);
        drawing += &format!("<line x1='{x:.1}' x2='{x:.1}' y1='{above}' y2='{below}' stroke='#e5e7eb'/>\n");
        drawing += &text((x, below + 18.0), "middle", &format!("{tick:.2}"));
    }
    for tick in ticks {
        let (y, [left, right, ..]) = (y_of(tick, bottom, top), AREA);
        drawing += &format!("<line x1='{left}' x2='{right}' y1='{y:.1}' y2='{y:.1}' stroke='#e5e7eb'/>\n");
        drawing += &text((left - 8.0, y + 4.0), "end", &format!("{tick}"));
    }
    for ((system, points), color) in report.systems.iter().zip(&shown).zip(COLORS.iter().cycle()) {
        let mut places = points.iter().map(|point| (x_of(point.recall), y_of(point.mean_ms, bottom, top)));
        let path: Vec<String> = places.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        drawing += &format!(
            "<polyline points='{}' fill='none' stroke='{color}' stroke-width='2'/>\n",
            path.join(" ")
        );
        for (x, y) in places.clone() {
            drawing += &format!("<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{color}'/>\n");
        }
        if let Some((x, y)) = places.next_back() {
            let name = format!("{} {}", system.name, system.version);
            drawing +=
                &text((x + 8.0, y + 4.0), "start", &name).replace("<text", &format!("<text fill='{color}'"));
        }
    }
    frame(report, &drawing)
}

/// The points with a recall that is shown, in its order.
fn shown(sweep: &[Point]) -> Vec<Point> {
    let mut points: Vec<Point> = sweep.iter().copied().filter(|point| point.recall >= RECALLS[0]).collect();
    points.sort_by(|a, b| a.recall.total_cmp(&b.recall));
    points
}

/// 1, 2 and 5 times powers of ten, from the last below all times to the first above.
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    let all: Vec<f64> =
        (-6..7).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power))).collect();
    let first = all.partition_point(|tick| *tick <= low).saturating_sub(1);
    let last = all.partition_point(|tick| *tick < high);
    if low > high { Vec::new() } else { all.into_iter().skip(first).take(last + 1 - first).collect() }
}

fn x_of(recall: f64) -> f64 {
    let ([low, high], [left, right, ..]) = (RECALLS, AREA);
    left + (right - left) * (recall - low) / (high - low)
}

fn y_of(ms: f64, bottom: f64, top: f64) -> f64 {
    let [.., above, below] = AREA;
    below - (below - above) * (ms / bottom).ln() / (top / bottom).ln()
}

/// A text that begins, ends or has its middle at a place.
pub fn text((x, y): (f64, f64), anchor: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{content}</text>\n")
}

/// The page around a drawing: what was measured, and the names of the axes.
fn frame(report: &Report, drawing: &str) -> String {
    let Report { dataset, rows, dimensions, metric, m, ef_construction, k, .. } = report;
    let metric = format!("{metric:?}").to_lowercase();
    let title = format!(
        "{dataset}: {rows} rows of {dimensions} dimensions, {metric}, m {m}, ef_construction {ef_construction}"
    );
    let [left, right, above, below] = AREA;
    let middle = (left + right) / 2.0;
    [
        format!("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "),
        "font-family='sans-serif' font-size='13'>\n<rect width='100%' height='100%' fill='white'/>\n".into(),
        text((left, above - 22.0), "start", &title),
        text((middle, below + 42.0), "middle", &format!("recall of the {k} nearest")),
        text((left, above - 6.0), "start", "mean ms a query (lower is better)"),
        drawing.into(),
        "</svg>\n".into(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_between_ticks() {
        assert_eq!(ticks(0.3, 4.0), [0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(ticks(0.2, 5.0), [0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(ticks(1.5, 1.6), [1.0, 2.0]);
        assert!(ticks(f64::INFINITY, 0.0).is_empty());
    }

    #[test]
    fn more_recall_is_to_the_right_and_less_time_is_below() {
        let [left, right, above, below] = AREA;
        assert_eq!([x_of(0.8), x_of(1.0)], [left, right]);
        assert_eq!([y_of(0.2, 0.2, 5.0), y_of(5.0, 0.2, 5.0)], [below, above]);
        assert!((y_of(1.0, 0.2, 5.0) - (above + below) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn only_recalls_that_are_shown_are_drawn_in_their_order() {
        let point = |recall| Point {
            ef_search: 0,
            recall,
            mean_ms: 1.0,
            p50_ms: 1.0,
            p99_ms: 1.0,
            buffers: 0.0,
            buffers_read: 0.0,
        };
        let recalls =
            shown(&[0.99, 0.7, 0.9].map(point)).iter().map(|point| point.recall).collect::<Vec<_>>();
        assert_eq!(recalls, [0.9, 0.99]);
    }

    #[test]
    fn names_are_not_markup() {
        assert_eq!(
            text((1.0, 2.0), "end", "a<b&c"),
            "<text x='1.0' y='2.0' text-anchor='end'>a&lt;b&amp;c</text>\n"
        );
    }
}

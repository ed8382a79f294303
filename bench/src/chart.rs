//! Lines in a frame with axes, as an SVG.

use crate::plot::{HEIGHT, WIDTH, text, ticks};

/// Left, right, top and bottom edge of the area with the lines.
const AREA: [f64; 4] = [70.0, 590.0, 50.0, 385.0];
const COLORS: [&str; 5] = ["#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#6b7280"];

/// A line with a name.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Places, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// A drawing.
pub struct Chart {
    /// What was measured.
    pub title: String,
    /// Names of the axes.
    pub names: [String; 2],
    /// Whether the horizontal scale is logarithmic; the vertical one is.
    pub is_logarithmic: bool,
    /// What is drawn.
    pub lines: Vec<Line>,
}

/// A scale from one edge of the area to the other.
struct Scale {
    ticks: Vec<f64>,
    is_logarithmic: bool,
    edges: [f64; 2],
}

impl Scale {
    fn new(values: impl Iterator<Item = f64> + Clone, is_logarithmic: bool, edges: [f64; 2]) -> Self {
        let (low, high) =
            (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
        let ticks = if is_logarithmic {
            ticks(low, high)
        } else {
            (0..=high.max(1.0) as u32).map(f64::from).collect()
        };
        Self { ticks, is_logarithmic, edges }
    }

    fn place(&self, value: f64) -> f64 {
        let [start, end] = self.edges;
        let (Some(&low), Some(&high)) = (self.ticks.first(), self.ticks.last()) else { return start };
        let share = if self.is_logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        start + (end - start) * share
    }
}

impl Chart {
    /// The drawing.
    pub fn to_svg(&self) -> String {
        let [left, right, above, below] = AREA;
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let across = Scale::new(points().map(|point| point.0), self.is_logarithmic, [left, right]);
        let up = Scale::new(points().map(|point| point.1), true, [below, above]);
        let mut drawing = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' \
             font-size='13'>\n<rect width='100%' height='100%' fill='white'/>\n"
        );
        drawing += &text((left, above - 22.0), "start", &self.title);
        drawing += &text(((left + right) / 2.0, below + 42.0), "middle", &self.names[0]);
        drawing += &text((left, above - 6.0), "start", &self.names[1]);
        for tick in &across.ticks {
            let x = across.place(*tick);
            drawing +=
                &format!("<line x1='{x:.1}' x2='{x:.1}' y1='{above}' y2='{below}' stroke='#e5e7eb'/>\n");
            drawing += &text((x, below + 18.0), "middle", &format!("{tick}"));
        }
        for tick in &up.ticks {
            let y = up.place(*tick);
            drawing +=
                &format!("<line x1='{left}' x2='{right}' y1='{y:.1}' y2='{y:.1}' stroke='#e5e7eb'/>\n");
            drawing += &text((left - 8.0, y + 4.0), "end", &format!("{tick}"));
        }
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let places: Vec<(f64, f64)> =
                line.points.iter().map(|point| (across.place(point.0), up.place(point.1))).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            drawing +=
                &format!("<polyline points='{path}' fill='none' stroke='{color}' stroke-width='2'/>\n");
            for (x, y) in &places {
                drawing += &format!("<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{color}'/>\n");
            }
            if let Some((x, y)) = places.last() {
                let name = text((x + 8.0, y + 4.0), "start", &line.name);
                drawing += &name.replace("<text", &format!("<text fill='{color}'"));
            }
        }
        drawing + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lie_where_the_scales_say() {
        let logarithmic = Scale::new([2.0, 40.0].into_iter(), true, [100.0, 200.0]);
        assert_eq!((logarithmic.place(2.0), logarithmic.place(50.0)), (100.0, 200.0));
        assert!((logarithmic.place(10.0) - 150.0).abs() < 1e-9);
        let linear = Scale::new([0.0, 3.0, 4.0].into_iter(), false, [400.0, 0.0]);
        assert_eq!([0.0, 1.0, 4.0].map(|value| linear.place(value)), [400.0, 300.0, 0.0]);
    }

    #[test]
    fn every_point_is_drawn() {
        let line = |name: &str, points: &[(f64, f64)]| Line { name: name.into(), points: points.to_vec() };
        let lines = vec![line("a", &[(1.0, 1.0), (10.0, 2.0)]), line("b", &[(5.0, 1.5)])];
        let names = ["rows".into(), "ms".into()];
        let svg = Chart { title: "t".into(), names, is_logarithmic: true, lines }.to_svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">a</text>") && svg.contains(">b</text>") && !svg.contains("NaN"), "{svg}");
    }
}

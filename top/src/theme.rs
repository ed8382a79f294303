//! Colours and glyphs, by what the terminal can show.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};

use crate::model::map::Cell;

/// How many colours there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colours {
    None,
    Sixteen,
    Many,
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    pub colours: Colours,
    pub is_ascii: bool,
}

/// From not cached to cached, then what was just read or written: of an index, and of a table.
const MANY: [[u8; 6]; 2] = [[23, 30, 30, 37, 44, 159], [53, 90, 90, 127, 164, 225]];
const SIXTEEN: [[Color; 6]; 2] = [
    [Color::DarkGray, Color::Cyan, Color::Cyan, Color::Cyan, Color::Cyan, Color::LightCyan],
    [Color::DarkGray, Color::Magenta, Color::Magenta, Color::Magenta, Color::Magenta, Color::LightMagenta],
];
const SHADES: [char; 6] = ['·', '░', '▒', '▓', '█', '◆'];
const ASCII_SHADES: [char; 6] = ['.', ':', '-', '+', 'o', '#'];

const ASCII_BARS: bar::Set = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "*",
    five_eighths: "+",
    half: "=",
    three_eighths: "-",
    one_quarter: ":",
    one_eighth: ".",
    empty: " ",
};
const ASCII_BORDER: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

impl Theme {
    /// What the environment says of the terminal.
    pub fn of(variable: impl Fn(&str) -> Option<String>, is_ascii: bool) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(&variable).unwrap_or_default();
        let is_utf8 = locale.to_lowercase().replace('-', "").contains("utf8");
        let colours = if variable("NO_COLOR").is_some()
            || term.is_empty()
            || term == "dumb"
            || term.starts_with("vt")
        {
            Colours::None
        } else if term.contains("256color") || variable("COLORTERM").is_some() {
            Colours::Many
        } else {
            Colours::Sixteen
        };
        Self { colours, is_ascii: is_ascii || !is_utf8 }
    }

    /// How a cell is drawn.
    pub fn cell(&self, cell: &Cell, is_index: bool) -> (char, Style) {
        let step = match cell.cached_share() {
            _ if cell.is_bright() => 5,
            share if share > 0.0 => 1 + (share * 3.0).floor() as usize,
            _ => 0,
        };
        let glyph = match (self.is_ascii, self.colours) {
            (true, _) => ASCII_SHADES[step],
            (false, Colours::None) => SHADES[step],
            (false, _) => '■',
        };
        let side = usize::from(!is_index);
        let style = match self.colours {
            Colours::None => Style::new(),
            Colours::Sixteen if step == 1 => Style::new().fg(SIXTEEN[side][step]).add_modifier(Modifier::DIM),
            Colours::Sixteen => Style::new().fg(SIXTEEN[side][step]),
            Colours::Many => Style::new().fg(Color::Indexed(MANY[side][step])),
        };
        (glyph, if step == 5 { style.add_modifier(Modifier::BOLD) } else { style })
    }

    /// The colour of an index, or of a table.
    pub fn side(&self, is_index: bool) -> Style {
        self.colour(if is_index { Color::Cyan } else { Color::Magenta })
    }

    /// Words that say what a number is.
    pub fn label(&self) -> Style {
        self.colour(Color::DarkGray)
    }

    pub fn good(&self) -> Style {
        self.colour(Color::Green)
    }

    pub fn bad(&self) -> Style {
        self.colour(Color::LightRed).add_modifier(Modifier::BOLD)
    }

    pub fn warm(&self) -> Style {
        self.colour(Color::Yellow)
    }

    fn colour(&self, colour: Color) -> Style {
        if self.colours == Colours::None { Style::new() } else { Style::new().fg(colour) }
    }

    pub fn bars(&self) -> bar::Set<'static> {
        if self.is_ascii { ASCII_BARS } else { bar::NINE_LEVELS }
    }

    pub fn border(&self) -> border::Set<'static> {
        if self.is_ascii { ASCII_BORDER } else { border::ROUNDED }
    }

    /// A text in the characters that there are.
    pub fn text(&self, text: &str) -> String {
        if !self.is_ascii {
            return text.to_owned();
        }
        let plain = |character: char| match character {
            '…' => "..".to_owned(),
            '↑' | '↓' | '←' | '→' => String::new(),
            '·' => "-".to_owned(),
            '▶' => ">".to_owned(),
            character if character.is_ascii() => character.to_string(),
            _ => "?".to_owned(),
        };
        text.chars().map(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(variables: &[(&str, &str)]) -> (Colours, bool) {
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        let theme = Theme::of(find, false);
        (theme.colours, theme.is_ascii)
    }

    #[test]
    fn the_environment_says_what_can_be_shown() {
        let utf8 = ("LANG", "C.UTF-8");
        assert_eq!(theme(&[("TERM", "xterm-256color"), utf8]), (Colours::Many, false));
        assert_eq!(theme(&[("TERM", "linux"), utf8]), (Colours::Sixteen, false));
        assert_eq!(theme(&[("TERM", "xterm-256color"), ("NO_COLOR", "1"), utf8]), (Colours::None, false));
        assert_eq!(theme(&[("TERM", "vt100"), ("LANG", "C")]), (Colours::None, true));
        assert_eq!(theme(&[]), (Colours::None, true));
    }

    #[test]
    fn without_colours_glyphs_tell_the_same() {
        let cells = [(0, 0), (1, 0), (5, 0), (9, 0), (10, 0), (0, 1)];
        let cells = cells.map(|(cached, written_looks)| Cell {
            pages: 10,
            cached: Some(cached),
            written_looks,
            ..Cell::default()
        });
        let glyphs =
            |colours, is_ascii| cells.clone().map(|cell| Theme { colours, is_ascii }.cell(&cell, true).0);
        assert_eq!(glyphs(Colours::None, false), ['·', '░', '▒', '▓', '█', '◆']);
        assert_eq!(glyphs(Colours::None, true), ['.', ':', '-', '+', 'o', '#']);
        let styles =
            cells.map(|cell| Theme { colours: Colours::Many, is_ascii: false }.cell(&cell, false).1.fg);
        assert_eq!(styles, MANY[1].map(|index| Some(Color::Indexed(index))));
    }
}

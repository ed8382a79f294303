//! The page of help.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Text;
use ratatui::widgets::{Clear, Padding, Paragraph};

use super::titled;
use crate::app::App;

const TEXT: &str = "1 overview   2 map   3 indexes   4 searches        q quit
n p          next and previous index
tab          the cursor goes to the map of the index, or of the table
arrows       move the cursor; home and end
+ enter      the cell under the cursor becomes the whole map
- backspace  back to the map before
k            letters show what pages hold: nodes, upper links, payloads,
             overflow, aside, empty, meta, table
h            walia_info: unreachable nodes, drift (reads the index)
r            walia_recall: recall of 100 rows (reads the table)
c esc        cancels what h or r asked

p50 and p99 are of the searches of ten seconds: those that
walia_stat_indexes counts, or else those of other sessions that were
seen. Sizes of indexes in the list are as of VACUUM or ANALYZE.
any key: back";

/// Draws the help over the middle of the screen.
pub fn draw(frame: &mut Frame, app: &App, area: Rect) {
    let text = Text::from(TEXT);
    let (width, height) = (text.width() as u16 + 4, text.height() as u16 + 2);
    let middle = area.centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, middle);
    frame.render_widget(
        Paragraph::new(text).block(titled(app.theme, "Keys").padding(Padding::horizontal(1))),
        middle,
    );
}

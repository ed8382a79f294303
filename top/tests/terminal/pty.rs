//! The program in a pseudo-terminal, and its screen as a terminal would show it.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// A running program. Dropping it ends it.
pub struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    /// Shows what the program writes, to its end.
    reader: Option<JoinHandle<()>>,
    // Its end of the terminal lasts as long as this.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts the program with these arguments, variables and size (columns, rows).
    pub fn open(arguments: &[&str], variables: &[(&str, &str)], (cols, rows): (u16, u16)) -> Self {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_walia-top"));
        command.env_clear();
        for (name, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8")].iter().chain(variables) {
            command.env(name, value);
        }
        command.args(arguments);
        let child = pair.slave.spawn_command(command).unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(at_least_one(rows), at_least_one(cols), 0)));
        let shown = Arc::clone(&parser);
        let mut output = pair.master.try_clone_reader().unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: the program's end of the terminal is closed.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { parser, keys, child, reader: Some(reader), _master: pair.master }
    }

    /// The screen as text.
    pub fn screen(&self) -> String {
        let parser = self.parser.lock().unwrap();
        let width = parser.screen().size().1.get();
        parser.screen().rows(0, width).map(|row| row.trim_end().to_owned() + "\n").collect()
    }

    /// What is asked of the screen, as a terminal keeps it.
    pub fn with<T>(&self, ask: impl FnOnce(&vt100::Screen) -> T) -> T {
        ask(self.parser.lock().unwrap().screen())
    }

    /// Waits until the screen is as it should be, and gives it; fails the test after half a minute.
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "waited in vain: {what}; the screen is\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a text is on the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until the whole screen is like the expected one, in which `~` stands for any character.
    pub fn wait_like(&self, expected: &str) {
        self.wait(&format!("a screen like\n{expected}"), |screen| is_like(screen, expected));
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end of the program, and of what it has shown, and gives whether it ended well.
    pub fn end(&mut self) -> bool {
        let status = self.child.wait().unwrap();
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        status.success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It fails where the program has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn at_least_one(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a terminal has characters")
}

/// Whether a screen is like an expected one.
fn is_like(screen: &str, expected: &str) -> bool {
    let same = |(shown, expected): (char, char)| shown == expected || expected == '~';
    let line = |(shown, expected): (&str, &str)| {
        // What varies may be blank, at the end of a line too.
        let shown = shown.chars().chain(std::iter::repeat(' '));
        expected.chars().count() >= shown.clone().take(400).collect::<String>().trim_end().chars().count()
            && shown.zip(expected.chars()).all(same)
    };
    screen.lines().count() == expected.lines().count() && screen.lines().zip(expected.lines()).all(line)
}

#[test]
fn likeness_is_by_character() {
    assert!(is_like("a1\nb\n", "a~\nb\n"));
    assert!(is_like("a\nb\n", "a~\nb\n"));
    for different in ["a12\nb\n", "a1\nc\n", "a1\n", "a1\nb\nc\n", "1a\nb\n", "a1\n\n"] {
        assert!(!is_like(different, "a~\nb\n"), "{different}");
    }
}

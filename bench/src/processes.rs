//! What the kernel says of a server's processes, where the server is on this machine.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Time between two looks at the memory in use.
const PAUSE: Duration = Duration::from_millis(50);

/// A process, and all that it has started: those of a server are its postmaster's children.
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    parent: u32,
}

impl Processes {
    /// The processes of the server that has this one.
    pub fn of_backend(backend: u32) -> Result<Self> {
        let parent = field(backend, "status", "PPid:").context("the server is not on this machine")?;
        let processes = Self { parent: u32::try_from(parent)? };
        ensure!(processes.all()?.contains(&backend), "the kernel does not tell a process's children");
        Ok(processes)
    }

    /// Bytes in memory that are none of a file's and not shared, such as shared buffers.
    pub fn private_bytes(self) -> Result<u64> {
        Ok(self.sum("status", "RssAnon:")? * 1024)
    }

    /// Bytes that were read from storage: what came from the page cache is not among them.
    pub fn storage_bytes(self) -> Result<u64> {
        self.sum("io", "read_bytes:")
    }

    /// Does some work and gives the most private bytes that there were meanwhile.
    pub fn peak<T>(self, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        let (done, is_done) = channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || -> Result<u64> {
                let mut peak = 0;
                loop {
                    peak = peak.max(self.private_bytes()?);
                    if is_done.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                        return Ok(peak);
                    }
                }
            });
            let result = work();
            drop(done);
            let peak = watch.join().expect("the watching thread does not panic")?;
            Ok((result?, peak))
        })
    }

    /// The sum of a number that each process has in a file. The parent's must be there; a child may have
    /// ended meanwhile.
    fn sum(self, file: &str, name: &str) -> Result<u64> {
        let of_children = self.all()?.into_iter().filter(|process| *process != self.parent);
        let of_children = of_children.filter_map(|process| field(process, file, name).ok());
        Ok(field(self.parent, file, name)? + of_children.sum::<u64>())
    }

    fn all(self) -> Result<Vec<u32>> {
        let mut all = vec![self.parent];
        let threads = format!("/proc/{}/task", self.parent);
        for thread in std::fs::read_dir(&threads).with_context(|| format!("could not read \"{threads}\""))? {
            // A thread may end meanwhile.
            let children = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        Ok(all)
    }
}

/// A number in a file of a process.
fn field(process: u32, file: &str, name: &str) -> Result<u64> {
    let path = Path::new("/proc").join(process.to_string()).join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("could not read \"{}\"", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name} in \"{}\"", path.display()))?.parse()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_peak_is_that_of_all_processes_and_of_memory_given_back() {
        let own = Processes { parent: std::process::id() };
        let before = own.private_bytes().unwrap();
        let (kept, peak) = own
            .peak(|| {
                // It keeps what may be the last line, which has no end here.
                let mut child =
                    Command::new("tail").arg("-n1").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
                let input =
                    child.stdin.take().map(|mut input| input.write_all(&[1; 40_000_000]).map(|()| input));
                let memory = vec![1u8; 90_000_000];
                std::thread::sleep(4 * PAUSE);
                drop(input);
                ensure!(child.wait()?.success(), "tail failed");
                Ok(memory.iter().map(|byte| usize::from(*byte)).sum::<usize>())
            })
            .unwrap();
        assert_eq!(kept, 90_000_000);
        assert!(peak > before + 120_000_000, "{before} {peak}");
        assert!(own.peak(|| Err::<(), _>(anyhow::anyhow!("failed"))).is_err());
    }
}

//! The program that is measured, and what the system says that it uses.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Of processor times in /proc, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Engine(Child);

/// What it used.
pub(crate) struct Used {
    /// Processor time for each second.
    pub(crate) cores: f64,
    /// The most memory that was resident at a look, of one a second.
    pub(crate) megabytes: f64,
    /// The most since its start.
    pub(crate) most_megabytes: f64,
}

impl Engine {
    pub(crate) fn start(program: &Path, config: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .arg("run")
            .env("SKIN_ASSIST_CONFIG", config)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display())))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).expect("the program runs, on Linux")
    }

    /// Processor time so far, its own and the kernel's for it, in seconds.
    fn processor(&self) -> f64 {
        let stat = self.proc("stat");
        // The name, in brackets, may have spaces.
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let times = after_name.split(' ').skip(11).take(2);
        times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
    }

    fn megabytes(&self, key: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let kibibytes: f64 = line
            .trim_start_matches(':')
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kibibytes * 1024.0 / 1e6
    }

    pub(crate) async fn watch(&mut self, length: Duration) -> Used {
        let (began, before) = (Instant::now(), self.processor());
        let mut megabytes: f64 = 0.0;
        while began.elapsed() < length {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(self.is_running(), "the program ended");
            megabytes = megabytes.max(self.megabytes("VmRSS"));
        }
        Used {
            cores: (self.processor() - before) / began.elapsed().as_secs_f64(),
            megabytes,
            most_megabytes: self.megabytes("VmHWM"),
        }
    }

    /// As systemd does.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(asked.unwrap().success());
        assert!(self.0.wait().unwrap().success(), "it did not end well");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Ended already, or the benchmark failed: nothing more can be done either way.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

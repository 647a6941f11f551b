//! What the process is denied before it does anything: to leave its memory behind.
//!
//! Keys, tokens and photos are in memory while they are used. A core dump would write them to a disk that is not encrypted, and a
//! debugger of the same user would read them.

use crate::failure::Failure;

/// Switches core dumps off, for this process and all that it starts: their size is limited to nothing, which cannot be taken back, and
/// on Linux the process is marked as not to be dumped, which keeps handlers that pipe dumps (systemd-coredump) and debuggers of other
/// processes of the same user away, too.
pub fn deny_dumps() -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let nothing = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, nothing).map_err(|error| refused("the size of core dumps", error))?;
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| refused("core dumps", error))?;
    }
    Ok(())
}

#[cfg(unix)]
fn refused(what: &str, error: rustix::io::Errno) -> Failure {
    Failure::new(format!("the system does not let this process limit {what}"))
        .because(std::io::Error::from(error))
        .with_hint("nothing was done: keys and photos could end in a core dump")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    /// A handler that pipes dumps gets them whatever the limit says, so that the limit alone would not be enough.
    #[test]
    fn both_the_limit_and_the_mark_are_set() {
        super::deny_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}

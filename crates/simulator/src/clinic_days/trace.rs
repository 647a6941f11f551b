//! Traces: JSON lines, sorted by time.

use std::io::{BufRead, BufReader, Read, Write};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A visit opens.
    Open,
    /// Its record changes.
    Change,
    /// It is over.
    Finish,
    /// A photo is filed under it.
    Attach,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Seconds since 00:00 US-Eastern of day 0.
    pub t: f64,
    /// What happens.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The practice.
    pub firm: u32,
    /// Who sees the patient.
    pub prov: u32,
    /// The visit.
    pub enc: u32,
    /// The patient.
    pub pat: u32,
    /// The photo; only of [`EventKind::Attach`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<u32>,
    /// The photo bumps its visit's `lastUpdated` exactly when this is below the scenario's hint; only of
    /// [`EventKind::Attach`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u: Option<f64>,
    /// `Solitary` or `Widespread`, of [`EventKind::Open`] and [`EventKind::Attach`]. A policy must not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cat: Option<String>,
}

/// Some days of some practices.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// In order of time.
    pub events: Vec<TraceEvent>,
}

/// The trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The bytes cannot be read.
    #[error("the trace cannot be read")]
    Read(#[from] std::io::Error),
    /// A line is not an event.
    #[error("line {line} of the trace is not an event")]
    Line {
        /// From 1 on.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A line makes no sense after those before it.
    #[error("line {line} of the trace {problem}")]
    Sense {
        /// From 1 on.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Trace {
    /// Reads a trace, compressed with gzip or not, and checks that it makes sense: sorted, each visit opened before anything
    /// else happens to it, photos with an id and a `u`.
    pub fn read(source: impl Read) -> Result<Self, TraceError> {
        let mut source = BufReader::new(source);
        let compressed = source.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        if compressed {
            Self::read_lines(BufReader::new(MultiGzDecoder::new(source)))
        } else {
            Self::read_lines(source)
        }
    }

    fn read_lines(source: impl BufRead) -> Result<Self, TraceError> {
        let mut events: Vec<TraceEvent> = Vec::new();
        let mut opened = std::collections::HashSet::new();
        for (number, text) in source.lines().enumerate() {
            let line = number + 1;
            let text = text?;
            if text.trim().is_empty() {
                continue;
            }
            let event: TraceEvent = serde_json::from_str(&text).map_err(|source| TraceError::Line { line, source })?;
            let nonsense = |problem| Err(TraceError::Sense { line, problem });
            if !event.t.is_finite() || event.t < 0.0 {
                return nonsense("has no time");
            }
            if events.last().is_some_and(|before| before.t > event.t) {
                return nonsense("is earlier than the one before it");
            }
            match event.kind {
                EventKind::Open if !opened.insert(event.enc) => return nonsense("opens a visit that is open already"),
                EventKind::Open => {}
                _ if !opened.contains(&event.enc) => return nonsense("is about a visit that was not opened"),
                EventKind::Attach if event.doc.is_none() || event.u.is_none() => {
                    return nonsense("files a photo without `doc` or `u`");
                }
                _ => {}
            }
            events.push(event);
        }
        Ok(Self { events })
    }

    /// Writes the trace as it is read, compressed with gzip or not.
    pub fn write(&self, target: impl Write, compressed: bool) -> std::io::Result<()> {
        if compressed {
            let mut encoder = GzEncoder::new(target, Compression::default());
            self.write_lines(&mut encoder)?;
            encoder.finish()?;
            Ok(())
        } else {
            self.write_lines(target)
        }
    }

    fn write_lines(&self, target: impl Write) -> std::io::Result<()> {
        let mut target = std::io::BufWriter::new(target);
        for event in &self.events {
            serde_json::to_writer(&mut target, event)?;
            target.write_all(b"\n")?;
        }
        target.flush()
    }

    /// How many practices.
    pub fn firms(&self) -> usize {
        let firms: std::collections::BTreeSet<u32> = self.events.iter().map(|event| event.firm).collect();
        firms.len()
    }
}

//! A collection on disk: photos in a folder, the truth in a table.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use skin_assist_evaluation::{
    csv::Table,
    dataset::{self, Photo},
};

use crate::failure::{Failure, Hinted as _, WithHint as _};

/// Folders below the collection's own are looked into so deep.
const DEPTH: usize = 4;

const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "tif", "tiff"];

/// A collection.
pub(super) struct Collection {
    /// Each photo with its file and the file's length.
    pub(super) photos: Vec<(Photo, PathBuf, u64)>,
    /// Rows of the table whose photo is not there.
    pub(super) without_file: usize,
}

impl Collection {
    /// Opens the collection in `folder`, with its table or another one.
    pub(super) fn open(
        folder: &Path,
        table: Option<&Path>,
        renamed: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let table = match table {
            Some(path) => path.to_owned(),
            None => only_table(folder)?,
        };
        let shown = table.display();
        let text = std::fs::read_to_string(&table)
            .failed(|| format!("the table {shown} cannot be read"))
            .hint("it is UTF-8 text, comma-separated, with names in its first row")?;
        let table = Table::read(&text).failed(|| format!("the table {shown} cannot be understood"))?;
        let listed = dataset::photos(&table, renamed).map_err(|error| {
            let hint = error.hint();
            Failure::new(format!("the table {shown} cannot be used"))
                .because(error)
                .with_hint(hint)
        })?;
        let mut files = HashMap::new();
        find(folder, DEPTH, &mut files).failed(|| format!("the folder {} cannot be read", folder.display()))?;
        let mut photos = Vec::new();
        let mut without_file = 0;
        for photo in listed {
            match files.get(&stem(&photo.image)) {
                Some((path, bytes)) => photos.push((photo, path.clone(), *bytes)),
                None => without_file += 1,
            }
        }
        if photos.is_empty() {
            return Err(
                Failure::new(format!("no photo of the table {shown} is in {}", folder.display()))
                    .with_hint("files are named as in the table's column of images: .jpg, .png, .webp or .tif"),
            );
        }
        Ok(Self { photos, without_file })
    }
}

/// A file's name without folder and ending, in lower case. Names with dots in them are left whole but for a known ending.
fn stem(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    match name.rsplit_once('.') {
        Some((stem, ending)) if ENDINGS.contains(&ending) => stem.to_owned(),
        _ => name,
    }
}

fn only_table(folder: &Path) -> Result<PathBuf, Failure> {
    let unreadable = || format!("the folder {} cannot be read", folder.display());
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(folder).failed(unreadable).hint("check --dataset")? {
        let path = entry.failed(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
        {
            tables.push(path);
        }
    }
    match tables.as_slice() {
        [table] => Ok(table.clone()),
        [] => Err(Failure::new(format!("there is no table in {}", folder.display()))
            .with_hint("put the collection's .csv there, or name it with --table")),
        _ => Err(
            Failure::new(format!("there are several tables in {}", folder.display()))
                .with_hint("say which with --table"),
        ),
    }
}

fn find(folder: &Path, depth: usize, files: &mut HashMap<String, (PathBuf, u64)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_photo = name
            .rsplit_once('.')
            .is_some_and(|(_, ending)| ENDINGS.contains(&ending));
        if kind.is_dir() && depth > 0 {
            find(&entry.path(), depth - 1, files)?;
        } else if is_photo {
            files.insert(stem(&name), (entry.path(), std::fs::metadata(entry.path())?.len()));
        }
    }
    Ok(())
}

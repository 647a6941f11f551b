//! Tables of comma-separated values (RFC 4180): quoted fields may hold commas, quotes (doubled) and line breaks.

/// A table with a row of names at its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The names of the columns, in lower case.
    pub columns: Vec<String>,
    /// The rows, each as long as the names.
    pub rows: Vec<Vec<String>>,
}

/// A table that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no first row.
    #[error("the table is empty")]
    Empty,
    /// A row is of another length than the first one.
    #[error("row {row} of the table has {fields} fields, and the first row {columns}")]
    Ragged {
        /// Which, counted from 1.
        row: usize,
        /// How many fields it has.
        fields: usize,
        /// How many names there are.
        columns: usize,
    },
    /// A quoted field does not end.
    #[error("a quoted field of the table does not end")]
    Unclosed,
}

impl Table {
    /// Reads a table. Empty lines are left out.
    pub fn read(text: &str) -> Result<Self, Error> {
        let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
        let columns: Vec<String> = records.next().ok_or(Error::Empty)?;
        let columns: Vec<String> = columns.iter().map(|name| name.trim().to_lowercase()).collect();
        let rows: Vec<Vec<String>> = records.collect();
        for (index, row) in rows.iter().enumerate() {
            if row.len() != columns.len() {
                return Err(Error::Ragged {
                    row: index + 2,
                    fields: row.len(),
                    columns: columns.len(),
                });
            }
        }
        Ok(Self { columns, rows })
    }

    /// The first of these columns that there is.
    pub fn column(&self, names: &[&str]) -> Option<usize> {
        names
            .iter()
            .find_map(|name| self.columns.iter().position(|column| column == name))
    }
}

fn records(text: &str) -> Result<Vec<Vec<String>>, Error> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\r' if !is_quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => end(&mut records, &mut record, &mut field),
            other => field.push(other),
        }
    }
    if is_quoted {
        return Err(Error::Unclosed);
    }
    end(&mut records, &mut record, &mut field);
    Ok(records)
}

fn end(records: &mut Vec<Vec<String>>, record: &mut Vec<String>, field: &mut String) {
    if record.is_empty() && field.trim().is_empty() {
        field.clear();
        return;
    }
    record.push(std::mem::take(field));
    records.push(std::mem::take(record));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_the_rfc_has_them() {
        let table = Table::read("Image,Label\r\n\"a,b\",\"say \"\"x\"\"\ntwice\"\r\n\r\nc,\r\n").unwrap();
        assert_eq!(table.columns, ["image", "label"]);
        assert_eq!(table.rows, [["a,b", "say \"x\"\ntwice"], ["c", ""]]);
        assert_eq!(table.column(&["no", "label"]), Some(1));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert_eq!(Table::read(""), Err(Error::Empty));
        assert_eq!(Table::read("a,b\n\"c"), Err(Error::Unclosed));
        let ragged = Table::read("a,b\nc\n");
        assert!(matches!(
            ragged,
            Err(Error::Ragged {
                row: 2,
                fields: 1,
                columns: 2
            })
        ));
    }
}

//! Lists: one page, its order, its filters, and how many there are in all.

use sqlx::postgres::PgRow;
use sqlx::{Encode, FromRow, PgConnection, Postgres, QueryBuilder, Type};

use super::StoreError;

/// Which part of a list, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many to leave out.
    pub offset: i64,
    /// How many to return.
    pub limit: i64,
    /// By what to order; equal ones by their number.
    pub sort: Sort,
    /// Last first.
    pub descending: bool,
}

/// By what a list is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The integer id.
    Number,
    /// The name, or what stands for it.
    Name,
    /// The e-mail address, of nouns that have one.
    Email,
    /// When it was made.
    Created,
    /// When it last changed.
    Updated,
}

/// A page, and how many there are in all.
#[derive(Debug, Clone)]
pub struct Listed<T> {
    /// All that match.
    pub total: i64,
    /// Those of the page.
    pub rows: Vec<T>,
}

/// The parts of a list's statement; each is a text of this program.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    /// `SELECT … FROM …`.
    pub(super) select: &'static str,
    /// `FROM …`, for counting.
    pub(super) from: &'static str,
    /// The column of [`Sort::Name`].
    pub(super) name: &'static str,
    /// The alias of the table that holds number, created and updated.
    pub(super) table: &'static str,
}

/// The conditions of a statement under construction.
pub(super) struct Conditions<'a> {
    builder: &'a mut QueryBuilder<Postgres>,
    any: bool,
}

impl Conditions<'_> {
    /// `column operator value`, when there is a value.
    pub(super) fn compare<T>(&mut self, column: &'static str, operator: &'static str, value: Option<T>)
    where
        T: for<'q> Encode<'q, Postgres> + Type<Postgres> + 'static,
    {
        if let Some(value) = value {
            self.and();
            self.builder.push(column).push(operator).push_bind(value);
        }
    }

    /// The column holds this text somewhere, without regard to case; no letter of it is a wildcard.
    pub(super) fn contains(&mut self, column: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.and();
            self.builder.push("position(lower(").push_bind(text.to_owned());
            self.builder.push(") in lower(").push(column).push(")) > 0");
        }
    }

    /// The column is an empty list, or one that holds this text.
    pub(super) fn among(&mut self, column: &'static str, text: Option<String>) {
        if let Some(text) = text {
            self.and();
            self.builder.push("(").push(column).push(" = '{}' OR ").push_bind(text);
            self.builder.push(" = ANY(").push(column).push("))");
        }
    }

    fn and(&mut self) {
        self.builder.push(if self.any { " AND " } else { " WHERE " });
        self.any = true;
    }
}

/// Runs a list: the page, and the count of all.
pub(super) async fn list<T>(
    connection: &mut PgConnection,
    parts: List,
    page: Page,
    conditions: impl Fn(&mut Conditions<'_>),
) -> Result<Listed<T>, StoreError>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut count = QueryBuilder::new("SELECT count(*) ");
    count.push(parts.from);
    conditions(&mut Conditions { builder: &mut count, any: false });
    let total: i64 = count.build_query_scalar().fetch_one(&mut *connection).await?;

    let mut rows = QueryBuilder::new(parts.select);
    conditions(&mut Conditions { builder: &mut rows, any: false });
    let direction = if page.descending { " DESC" } else { " ASC" };
    rows.push(" ORDER BY ");
    match page.sort {
        Sort::Number => rows.push(parts.table).push(".number"),
        Sort::Name | Sort::Email => rows.push(parts.name),
        Sort::Created => rows.push(parts.table).push(".created"),
        Sort::Updated => rows.push(parts.table).push(".updated"),
    };
    rows.push(direction).push(", ").push(parts.table).push(".number").push(direction);
    rows.push(" LIMIT ").push_bind(page.limit).push(" OFFSET ").push_bind(page.offset);
    let rows = rows.build_query_as::<T>().fetch_all(connection).await?;
    Ok(Listed { total, rows })
}

//! Making the tables, for tests and emulators: a deployment's tables come from its template, which has what cannot be said
//! here (the key, backups).

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, StreamSpecification, StreamViewType, TimeToLiveSpecification,
};
use skin_assist_core::ports::StateError;

use super::{
    DynamoStore,
    error::{meaning, unavailable},
    schema::{self, DELETE_AT, Key, TABLE_KEY, TABLES, Table},
};

/// The tables could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the tables cannot be made")]
pub struct SetupError(#[source] StateError);

const fn scalar(kind: schema::KeyType) -> ScalarAttributeType {
    match kind {
        schema::KeyType::Text => ScalarAttributeType::S,
        schema::KeyType::Number => ScalarAttributeType::N,
    }
}

fn key_schema(keys: [Key; 2]) -> Result<Vec<KeySchemaElement>, StateError> {
    keys.into_iter()
        .zip([KeyType::Hash, KeyType::Range])
        .map(|(key, kind)| {
            KeySchemaElement::builder()
                .attribute_name(key.attribute)
                .key_type(kind)
                .build()
                .map_err(unavailable)
        })
        .collect()
}

/// Each key attribute once.
fn attributes(table: &Table) -> Result<Vec<AttributeDefinition>, StateError> {
    let mut keys: Vec<Key> = TABLE_KEY.to_vec();
    keys.extend(table.indexes.iter().flat_map(|index| [index.part, index.sort]));
    keys.sort_by_key(|key| key.attribute);
    keys.dedup();
    keys.into_iter()
        .map(|key| {
            AttributeDefinition::builder()
                .attribute_name(key.attribute)
                .attribute_type(scalar(key.kind))
                .build()
                .map_err(unavailable)
        })
        .collect()
}

fn indexes(table: &Table) -> Result<Vec<GlobalSecondaryIndex>, StateError> {
    table
        .indexes
        .iter()
        .map(|index| {
            let includes = (!index.includes.is_empty())
                .then(|| index.includes.iter().copied().map(str::to_owned).collect::<Vec<_>>());
            let projection = Projection::builder()
                .projection_type(match includes {
                    Some(_) => ProjectionType::Include,
                    None => ProjectionType::KeysOnly,
                })
                .set_non_key_attributes(includes)
                .build();
            GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .set_key_schema(Some(key_schema([index.part, index.sort])?))
                .projection(projection)
                .build()
                .map_err(unavailable)
        })
        .collect()
}

impl DynamoStore {
    /// Makes the tables. Emulators have them at once.
    pub async fn create_tables(&self) -> Result<(), SetupError> {
        for table in TABLES {
            self.create_table(table).await.map_err(SetupError)?;
        }
        Ok(())
    }

    async fn create_table(&self, table: &Table) -> Result<(), StateError> {
        let indexes = indexes(table)?;
        let stream = table
            .stream
            .then(|| {
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::KeysOnly)
                    .build()
            })
            .transpose()
            .map_err(unavailable)?;
        let sent = self
            .client
            .create_table()
            .table_name(self.name(table))
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_schema(TABLE_KEY)?))
            .set_attribute_definitions(Some(attributes(table)?))
            .set_global_secondary_indexes((!indexes.is_empty()).then_some(indexes))
            .set_stream_specification(stream)
            .send()
            .await;
        sent.map_err(|error| meaning(&error))?;
        if table.expires {
            let specification = TimeToLiveSpecification::builder()
                .attribute_name(DELETE_AT)
                .enabled(true)
                .build()
                .map_err(unavailable)?;
            let sent = self
                .client
                .update_time_to_live()
                .table_name(self.name(table))
                .time_to_live_specification(specification)
                .send()
                .await;
            sent.map_err(|error| meaning(&error))?;
        }
        Ok(())
    }
}

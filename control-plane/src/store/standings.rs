//! What control planes tell each other about the nodes that are connected to them, through the database.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::kernel::ids::{NodeId, Revision};
use sqlx::FromRow;
use uuid::Uuid;

use super::{CatalogTx, Store, StoreError};

/// Who tells.
#[derive(Debug, Clone, Copy)]
pub struct Teller<'a> {
    /// This control plane, at this start of it.
    pub id: Uuid,
    /// Its version.
    pub build: &'a str,
    /// When it started.
    pub started: DateTime<Utc>,
}

/// What is told of one node.
#[derive(Debug, Clone)]
pub struct ToldStanding {
    /// Which.
    pub node: Uuid,
    /// Whether it is connected to the teller.
    pub connected: bool,
    /// When it was last heard.
    pub last_seen: DateTime<Utc>,
    /// All the rest.
    pub standing: Value,
}

/// What another control plane told of one node.
#[derive(Debug, Clone, FromRow)]
pub struct StandingRow {
    /// Which.
    pub node: Uuid,
    /// Who told it.
    pub control_plane: Uuid,
    /// Whether it is connected there, and that control plane lives.
    pub connected: bool,
    /// When it was last heard.
    pub last_seen: DateTime<Utc>,
    /// All the rest.
    pub standing: Value,
}

/// A control plane.
#[derive(Debug, Clone, FromRow)]
pub struct ControlPlaneRow {
    /// Which, at this start of it.
    pub id: Uuid,
    /// Its version.
    pub build: String,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it last told something.
    pub seen: DateTime<Utc>,
}

/// Something that an operator asks of a node.
#[derive(Debug, Clone, FromRow)]
pub struct OrderRow {
    /// Rises with time.
    pub id: i64,
    /// Of which node.
    pub node: Uuid,
    /// What.
    pub command: Value,
}

/// A control plane that has told nothing for so long is gone; the database's clock counts.
macro_rules! lives {
    ($statement:literal) => {
        concat!($statement, " c.ended IS NULL AND c.seen > now() - interval '8 seconds'")
    };
}

impl Store {
    /// Tells that this control plane lives, and how nodes are.
    ///
    /// # Errors
    /// [`StoreError`], as everywhere in this room.
    pub async fn tell_standings(&self, teller: Teller<'_>, told: &[ToldStanding]) -> Result<(), StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query(
            "WITH told AS (
                 INSERT INTO node_standings AS n (node, control_plane, connected, last_seen, standing)
                 SELECT t.node, $1, t.connected, t.last_seen, t.standing
                 FROM unnest($4::uuid[], $5::boolean[], $6::timestamptz[], $7::jsonb[])
                     AS t (node, connected, last_seen, standing)
                 ON CONFLICT (node, control_plane) DO UPDATE
                     SET connected = EXCLUDED.connected, last_seen = EXCLUDED.last_seen, standing = EXCLUDED.standing
             )
             INSERT INTO control_planes (id, build, started) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET seen = now(), ended = NULL",
        )
        .bind(teller.id)
        .bind(teller.build)
        .bind(teller.started)
        .bind(told.iter().map(|one| one.node).collect::<Vec<_>>())
        .bind(told.iter().map(|one| one.connected).collect::<Vec<_>>())
        .bind(told.iter().map(|one| one.last_seen).collect::<Vec<_>>())
        .bind(told.iter().map(|one| one.standing.clone()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    /// Tells that this control plane ends: nobody is connected to it any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tell_end(&self, id: Uuid) -> Result<(), StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query("UPDATE control_planes SET ended = now() WHERE id = $1").bind(id).execute(&mut *connection).await?;
        Ok(())
    }

    /// Every node that is connected to another control plane that lives.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn connected_elsewhere(&self, id: Uuid) -> Result<Vec<Uuid>, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_scalar(lives!(
            "SELECT DISTINCT n.node FROM node_standings n JOIN control_planes c ON c.id = n.control_plane
             WHERE n.control_plane <> $1 AND n.connected AND"
        ))
        .bind(id)
        .fetch_all(&mut *connection)
        .await?)
    }

    /// What other control planes told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standings_elsewhere(&self, id: Uuid) -> Result<Vec<StandingRow>, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_as(
            "SELECT n.node, n.control_plane, n.last_seen, n.standing, n.connected AND EXISTS (
                 SELECT FROM control_planes c WHERE c.id = n.control_plane AND c.ended IS NULL
                     AND c.seen > now() - interval '8 seconds') AS connected
             FROM node_standings n WHERE n.control_plane <> $1",
        )
        .bind(id)
        .fetch_all(&mut *connection)
        .await?)
    }

    /// Every control plane that lives.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn control_planes(&self) -> Result<Vec<ControlPlaneRow>, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_as(lives!("SELECT c.id, c.build, c.started, c.seen FROM control_planes c WHERE"))
            .fetch_all(&mut *connection)
            .await?)
    }

    /// Hands an order over to whichever control plane the node is connected to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hand_over_order(&self, node: NodeId, command: &Value) -> Result<i64, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_scalar("INSERT INTO node_orders (node, command) VALUES ($1, $2) RETURNING id")
            .bind(node.uuid())
            .bind(command)
            .fetch_one(&mut *connection)
            .await?)
    }

    /// Whether an order was delivered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_delivered(&self, order: i64) -> Result<bool, StoreError> {
        let mut connection = self.acquire().await?;
        let delivered: Option<bool> = sqlx::query_scalar("SELECT delivered IS NOT NULL FROM node_orders WHERE id = $1")
            .bind(order)
            .fetch_optional(&mut *connection)
            .await?;
        Ok(delivered.unwrap_or(false))
    }

    /// Takes an order back that nobody delivered; false when somebody did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_back_order(&self, order: i64) -> Result<bool, StoreError> {
        let mut connection = self.acquire().await?;
        let done = sqlx::query("DELETE FROM node_orders WHERE id = $1 AND delivered IS NULL")
            .bind(order)
            .execute(&mut *connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Orders for these nodes that wait to be delivered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_orders(&self, nodes: &[Uuid]) -> Result<Vec<OrderRow>, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_as(
            "SELECT id, node, command FROM node_orders
             WHERE delivered IS NULL AND made > now() - interval '1 minute' AND node = ANY($1) ORDER BY id",
        )
        .bind(nodes)
        .fetch_all(&mut *connection)
        .await?)
    }

    /// Claims an order; false when it was taken back, or somebody else claimed it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_order(&self, order: i64) -> Result<bool, StoreError> {
        let mut connection = self.acquire().await?;
        let done = sqlx::query("UPDATE node_orders SET delivered = now() WHERE id = $1 AND delivered IS NULL")
            .bind(order)
            .execute(&mut *connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The highest revision of this lineage that an operator confirmed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn confirmed_revision(&self) -> Result<Option<Revision>, StoreError> {
        let mut connection = self.acquire().await?;
        let revision: Option<i64> =
            sqlx::query_scalar("SELECT f.revision FROM fleet_confirmation f JOIN catalog_head h ON h.epoch = f.epoch")
                .fetch_optional(&mut *connection)
                .await?;
        Ok(revision.map(|revision| Revision(u64::try_from(revision).unwrap_or(0))))
    }

    /// Forgets what nobody asks for any more; for a job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_standings(&self) -> Result<u64, StoreError> {
        let mut connection = self.acquire().await?;
        let done = sqlx::query(
            "WITH orders AS (DELETE FROM node_orders WHERE made < now() - interval '1 day'),
                  planes AS (DELETE FROM control_planes WHERE seen < now() - interval '1 day')
             DELETE FROM node_standings n WHERE n.last_seen < now() - interval '1 day'
                 AND NOT (n.connected AND EXISTS (SELECT FROM control_planes c WHERE c.id = n.control_plane
                              AND c.seen > now() - interval '1 day'))",
        )
        .execute(&mut *connection)
        .await?;
        Ok(done.rows_affected())
    }
}

impl CatalogTx {
    /// Notes that a revision of the present lineage may take away much; a higher one stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn confirm_revision(&mut self, revision: Revision) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO fleet_confirmation AS f (epoch, revision) SELECT h.epoch, $1 FROM catalog_head h
             ON CONFLICT (only_row) DO UPDATE SET epoch = EXCLUDED.epoch,
                 revision = CASE WHEN f.epoch = EXCLUDED.epoch THEN greatest(f.revision, EXCLUDED.revision)
                            ELSE EXCLUDED.revision END",
        )
        .bind(i64::try_from(revision.0).unwrap_or(i64::MAX))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

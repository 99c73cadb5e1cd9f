//! `Enrollment`: how a node gets a certificate, and the next one. The only service that needs none.

use std::sync::Arc;

use shared::proto::enrollment_server::{Enrollment, EnrollmentServer};
use shared::proto::{EnrollRequest, EnrollResponse, RenewRequest};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};

use crate::fleet::certificates::CertificateRefusal;
use crate::fleet::{Enrolled, EnrolmentError, Enrolments, JoinRefusal};

/// A token, a request and some facts.
const MESSAGE: usize = 64 * 1024;

/// How many are served at the same time. Whoever can reach the port may ask, and each question is one to the database.
const AT_ONCE: usize = 4;

/// The service.
#[derive(Debug, Clone)]
pub struct EnrollmentService {
    enrolments: Enrolments,
    turns: Arc<Semaphore>,
}

impl EnrollmentService {
    /// Over the fleet's authority, as a tonic service with the limits of the protocol.
    #[must_use]
    pub fn server(enrolments: Enrolments) -> EnrollmentServer<Self> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        EnrollmentServer::new(Self { enrolments, turns }).max_decoding_message_size(MESSAGE)
    }
}

impl EnrollmentService {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.turns.acquire().await.map_err(|_| Status::unavailable("the control plane ends"))
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let EnrollRequest { join_token, csr_der, facts } = request.into_inner();
        let _turn = self.turn().await?;
        let enrolled = self.enrolments.enroll(&join_token, &csr_der, facts).await.map_err(|error| status(&error))?;
        Ok(Response::new(answer(enrolled)))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrollResponse>, Status> {
        let RenewRequest { csr_der, proof, certificate_der } = request.into_inner();
        let _turn = self.turn().await?;
        let enrolled =
            self.enrolments.renew(&certificate_der, &csr_der, &proof).await.map_err(|error| status(&error))?;
        Ok(Response::new(answer(enrolled)))
    }
}

fn answer(enrolled: Enrolled) -> EnrollResponse {
    EnrollResponse {
        certificate_der: enrolled.certificate,
        ca_der: vec![enrolled.authority],
        node_id: enrolled.node.to_bytes(),
        not_after_unix_s: enrolled.not_after.timestamp(),
        group: enrolled.group,
    }
}

fn status(error: &EnrolmentError) -> Status {
    match error {
        EnrolmentError::Token(JoinRefusal::Unavailable(_)) | EnrolmentError::Unavailable(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "a node cannot be enrolled now");
            Status::unavailable("nodes cannot be enrolled now")
        }
        EnrolmentError::Authority(_) => {
            tracing::error!(error = error as &dyn std::error::Error, "no certificate can be issued");
            Status::internal("no certificate can be issued")
        }
        EnrolmentError::Certificate(CertificateRefusal::Request(_)) => Status::invalid_argument(error.to_string()),
        EnrolmentError::Token(_)
        | EnrolmentError::Certificate(_)
        | EnrolmentError::Proof
        | EnrolmentError::TooOld { .. }
        | EnrolmentError::Revoked { .. } => {
            tracing::warn!(reason = %error, "a node was not given a certificate");
            Status::unauthenticated(error.to_string())
        }
    }
}

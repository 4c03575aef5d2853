"""The certificate authority, enrolment tokens, certificates, and who has been revoked."""

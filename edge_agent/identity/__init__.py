"""Who this device is: its enrolment, its certificate and its renewal, and what is the matter with it."""

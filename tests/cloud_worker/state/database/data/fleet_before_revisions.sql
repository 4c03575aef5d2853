BEGIN TRANSACTION;
CREATE TABLE accounts (
	task VARCHAR(200) NOT NULL, 
	booking INTEGER NOT NULL, 
	day INTEGER NOT NULL, 
	queries INTEGER NOT NULL, 
	usd FLOAT NOT NULL, 
	costliest FLOAT NOT NULL, 
	PRIMARY KEY (task)
);
INSERT INTO "accounts" VALUES('home',2,20717,1,0.25,0.25);
CREATE TABLE asked_twice (
	task VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	teacher_version VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	query_id VARCHAR(64) NOT NULL, 
	agreed BOOLEAN NOT NULL, 
	asked_at FLOAT NOT NULL, 
	PRIMARY KEY (task, version, teacher_version, caller, query_id)
);
INSERT INTO "asked_twice" VALUES('home',1,'v1','kitchen','q1',1,1790000000.0);
INSERT INTO "asked_twice" VALUES('home',1,'v1','hall','q2',0,1790000000.0);
CREATE TABLE audit (
	number INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	who VARCHAR(200) NOT NULL, 
	task VARCHAR(200) NOT NULL, 
	did VARCHAR(50) NOT NULL, 
	why TEXT NOT NULL, 
	"before" TEXT NOT NULL, 
	"after" TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "audit" VALUES(1,1790000000.0,'ada','home','freeze','a test','{"mode": "serve", "frozen": false, "pinned": null, "forced": false}','{"mode": "serve", "frozen": true, "pinned": null, "forced": false}');
INSERT INTO "audit" VALUES(2,1790000001.0,'ada','home','pin 6','','{"mode": "serve", "frozen": true, "pinned": null, "forced": false}','{"mode": "serve", "frozen": true, "pinned": 6, "forced": false}');
INSERT INTO "audit" VALUES(3,1790000000.0,'bob','car','observe','','{"mode": "serve", "frozen": false, "pinned": null, "forced": false}','{"mode": "observe", "frozen": false, "pinned": null, "forced": false}');
CREATE TABLE blind (
	task VARCHAR(200) NOT NULL, 
	began FLOAT NOT NULL, 
	ended FLOAT, 
	PRIMARY KEY (task, began)
);
INSERT INTO "blind" VALUES('home',1789999900.0,1789999950.0);
CREATE TABLE device_lives (
	device VARCHAR(200) NOT NULL, 
	life VARCHAR(64) NOT NULL, 
	last_seen FLOAT NOT NULL, 
	report TEXT, 
	PRIMARY KEY (device, life)
);
INSERT INTO "device_lives" VALUES('kitchen','a1',1790000000.0,'{"device":"kitchen","agent_version":"0.1","platform":"","processor":"","memory_bytes":0,"formats":[],"tasks":[{"task":"home","active_release":6,"staged_release":0,"answered":90,"kept":60,"escalated":0,"explored":0,"degraded":0,"failed":0,"covered":80,"healthy_answers":0,"explored_kept":0,"explored_disagreed":0,"p50_milliseconds":0.0,"p95_milliseconds":0.0,"exploration":0.05,"threshold_version":0,"refused":[]}],"outbox_pending":2,"outbox_dropped":0,"free_disk_bytes":0.0,"state":"ok","life":"a1"}');
INSERT INTO "device_lives" VALUES('kitchen','b2',1790000005.0,NULL);
CREATE TABLE device_traffic (
	task VARCHAR(200) NOT NULL, 
	slot INTEGER NOT NULL, 
	device VARCHAR(200) NOT NULL, 
	planned FLOAT NOT NULL, 
	PRIMARY KEY (task, slot, device)
);
INSERT INTO "device_traffic" VALUES('home',29833333,'kitchen',4.0);
INSERT INTO "device_traffic" VALUES('home',29833333,'hall',4.0);
CREATE TABLE devices (
	id VARCHAR(200) NOT NULL, 
	seed BLOB NOT NULL, 
	first_seen FLOAT NOT NULL, 
	last_seen FLOAT NOT NULL, 
	report TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "devices" VALUES('kitchen',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',1790000000.0,1790000000.0,'{"device":"kitchen","agent_version":"0.1","platform":"","processor":"","memory_bytes":0,"formats":[],"tasks":[{"task":"home","active_release":6,"staged_release":0,"answered":90,"kept":60,"escalated":0,"explored":0,"degraded":0,"failed":0,"covered":80,"healthy_answers":0,"explored_kept":0,"explored_disagreed":0,"p50_milliseconds":0.0,"p95_milliseconds":0.0,"exploration":0.05,"threshold_version":0,"refused":[]}],"outbox_pending":2,"outbox_dropped":0,"free_disk_bytes":0.0,"state":"ok","life":"a1"}');
INSERT INTO "devices" VALUES('hall',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F',1790000000.0,1790000000.0,'{"device":"hall","agent_version":"0.1","platform":"","processor":"","memory_bytes":0,"formats":[],"tasks":[{"task":"home","active_release":6,"staged_release":0,"answered":90,"kept":60,"escalated":0,"explored":0,"degraded":0,"failed":0,"covered":80,"healthy_answers":0,"explored_kept":0,"explored_disagreed":0,"p50_milliseconds":0.0,"p95_milliseconds":0.0,"exploration":0.05,"threshold_version":0,"refused":[]}],"outbox_pending":2,"outbox_dropped":0,"free_disk_bytes":0.0,"state":"ok","life":"a1"}');
CREATE TABLE devices_seen (
	device VARCHAR(200) NOT NULL, 
	last_seen FLOAT NOT NULL, 
	state VARCHAR(200) NOT NULL, 
	outbox_pending BIGINT NOT NULL, 
	PRIMARY KEY (device)
);
INSERT INTO "devices_seen" VALUES('kitchen',1790000000.0,'ok',2);
INSERT INTO "devices_seen" VALUES('hall',1790000000.0,'ok',2);
CREATE TABLE feedback (
	task VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	query_id VARCHAR(64) NOT NULL, 
	teacher_version VARCHAR(200) NOT NULL, 
	opinion VARCHAR(10) NOT NULL, 
	correction TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	tier VARCHAR(10) NOT NULL, 
	release INTEGER NOT NULL, 
	answer TEXT NOT NULL, 
	drawn BOOLEAN NOT NULL, 
	subject TEXT NOT NULL, 
	given_at FLOAT NOT NULL, 
	review VARCHAR(10) NOT NULL, 
	label TEXT NOT NULL, 
	reviewed_by VARCHAR(200) NOT NULL, 
	reviewed_at FLOAT NOT NULL, 
	PRIMARY KEY (task, caller, query_id)
);
INSERT INTO "feedback" VALUES('home','kitchen','q1','v1','wrong','music','why','device',6,'lights',0,'',1790000000.0,'','','',0.0);
CREATE TABLE figures (
	task VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	figures TEXT NOT NULL, 
	PRIMARY KEY (task)
);
INSERT INTO "figures" VALUES('home',1,'{"at":1790000000.0,"taught":900,"needed":1000,"hour_rows":0,"hour_planned":0.0,"blind":false,"watched":{"release":6,"rows":120,"losses":1,"evidence":0.1},"waiting":null,"observed":null,"drifted":null}');
CREATE TABLE gold (
	task VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	query_id VARCHAR(64) NOT NULL, 
	teacher_version VARCHAR(200) NOT NULL, 
	who VARCHAR(200) NOT NULL, 
	subject TEXT NOT NULL, 
	label TEXT NOT NULL, 
	skipped BOOLEAN NOT NULL, 
	blind BOOLEAN NOT NULL, 
	labelled_at FLOAT NOT NULL, 
	PRIMARY KEY (task, caller, query_id, teacher_version, who)
);
INSERT INTO "gold" VALUES('home','kitchen','q9','v1','ada','','lights',0,1,1790000000.0);
CREATE TABLE gold_draws (
	task VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	query_id VARCHAR(64) NOT NULL, 
	teacher_version VARCHAR(200) NOT NULL, 
	place FLOAT NOT NULL, 
	exploration FLOAT NOT NULL, 
	release INTEGER NOT NULL, 
	subject TEXT NOT NULL, 
	twice BOOLEAN NOT NULL, 
	taken_by VARCHAR(200) NOT NULL, 
	taken_at FLOAT NOT NULL, 
	PRIMARY KEY (task, caller, query_id, teacher_version)
);
INSERT INTO "gold_draws" VALUES('home','kitchen','q9','v1',4.57177040212095528448e-02,0.5,6,'',0,'ada',1790000000.0);
CREATE TABLE gold_secrets (
	task VARCHAR(200) NOT NULL, 
	secret BLOB NOT NULL, 
	PRIMARY KEY (task)
);
INSERT INTO "gold_secrets" VALUES('home',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F');
CREATE TABLE hands (
	task VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	frozen BOOLEAN NOT NULL, 
	pinned INTEGER, 
	forced BOOLEAN NOT NULL, 
	mode_since FLOAT NOT NULL, 
	PRIMARY KEY (task, version)
);
INSERT INTO "hands" VALUES('home',1,1,6,0,0.0);
INSERT INTO "hands" VALUES('car',2,0,NULL,0,1790000000.0);
CREATE TABLE judges (
	task VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	judge VARCHAR(200) NOT NULL, 
	PRIMARY KEY (task, version)
);
INSERT INTO "judges" VALUES('home',1,'exact');
CREATE TABLE losses (
	task VARCHAR(200) NOT NULL, 
	at FLOAT NOT NULL, 
	settled FLOAT, 
	PRIMARY KEY (task)
);
INSERT INTO "losses" VALUES('car',1789999500.0,NULL);
CREATE TABLE ordered_rates (
	device VARCHAR(200) NOT NULL, 
	task VARCHAR(200) NOT NULL, 
	since FLOAT NOT NULL, 
	rate FLOAT NOT NULL, 
	PRIMARY KEY (device, task, since)
);
INSERT INTO "ordered_rates" VALUES('kitchen','home',1790000000.0,0.05);
CREATE TABLE pool_policies (
	task VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	reference_version VARCHAR(200) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	policy TEXT NOT NULL, 
	rate FLOAT NOT NULL, 
	patience INTEGER NOT NULL, 
	rows INTEGER NOT NULL, 
	freeze INTEGER NOT NULL, 
	served_after INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	note TEXT NOT NULL, 
	figures TEXT NOT NULL, 
	PRIMARY KEY (task, number)
);
INSERT INTO "pool_policies" VALUES('home',1,1,'v1','waiting','{"policy": {"way": "cascade", "price": 0.1, "tiers": [{"teacher": "small", "version": "v1", "cost": 0.1, "bias": 0.0, "of_confidence": 1.0, "of_query": 1.0, "entering": [0.5, 0.5], "going_on": [0.5, 0.5]}]}, "words": [{"weights": "AAAAAAAAAAAAAAAAAAAAAA==", "bias": 0.5}], "proved": {"allowance": 0.01, "alpha": 0.02, "reference": "big", "judge": "exact"}}',0.2,900,300,7,-1,1790000000.0,'','{"rows":20,"losses":1,"stood":0.5,"saved":0.4}');
CREATE TABLE releases (
	task VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	manifest_sha256 VARCHAR(64) NOT NULL, 
	created_at FLOAT NOT NULL, 
	note TEXT NOT NULL, 
	PRIMARY KEY (task, number)
);
INSERT INTO "releases" VALUES('home',0,'retired','0000000000000000000000000000000000000000000000000000000000000000',1790000000.0,'no student');
INSERT INTO "releases" VALUES('home',1,'rejected','0000000000000000000000000000000000000000000000000000000000000001',1790000001.0,'no certificate: 400 rows');
INSERT INTO "releases" VALUES('home',2,'retired','0000000000000000000000000000000000000000000000000000000000000002',1790000002.0,'{"local_share": 0.6, "remark": "2 rows were left out", "classes": [{"label": "lights", "rows": 80, "kept": 60, "losses": 1}, {"label": "m\u00fasica", "rows": 40, "kept": 30, "losses": 0}], "alarmed": true}');
INSERT INTO "releases" VALUES('home',3,'retired','0000000000000000000000000000000000000000000000000000000000000003',1790000003.0,'{"local_share": 0.5, "remark": "", "classes": [], "back_to": 1, "fallen": "another version of the reference answers"}');
INSERT INTO "releases" VALUES('home',4,'retired','0000000000000000000000000000000000000000000000000000000000000004',1790000004.0,'{"lost": true}');
INSERT INTO "releases" VALUES('home',5,'retired','0000000000000000000000000000000000000000000000000000000000000005',1790000005.0,'{"rate": 0.2, "patience": 1500, "points": [[0.95, 0.25, 0.005], [0.75, 0.5, 0.0125]], "remark": ""}');
INSERT INTO "releases" VALUES('home',6,'champion','0000000000000000000000000000000000000000000000000000000000000006',1790000006.0,'{"local_share": 0.7, "remark": "good", "classes": [{"label": "lights", "rows": 90, "kept": 70, "losses": 0}]}');
INSERT INTO "releases" VALUES('home',7,'waiting','0000000000000000000000000000000000000000000000000000000000000007',1790000007.0,'{"rate": 0.2, "patience": 1500, "points": [[0.95, 0.25, 0.005], [0.75, 0.5, 0.0125]], "remark": "3 rows were left out"}');
INSERT INTO "releases" VALUES('home',8,'building','0000000000000000000000000000000000000000000000000000000000000008',1790000008.0,'');
INSERT INTO "releases" VALUES('car',0,'champion','0000000000000000000000000000000000000000000000000000000000000000',1790000000.0,'no student');
CREATE TABLE repeats (
	task VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	place BIGINT NOT NULL, 
	PRIMARY KEY (task, caller, place)
);
INSERT INTO "repeats" VALUES('home','kitchen',4);
CREATE TABLE spent_rows (
	task VARCHAR(200) NOT NULL, 
	caller VARCHAR(200) NOT NULL, 
	query_id VARCHAR(64) NOT NULL, 
	teacher_version VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (task, caller, query_id, teacher_version)
);
INSERT INTO "spent_rows" VALUES('home','kitchen','q1','v1',6);
INSERT INTO "spent_rows" VALUES('home','hall','q2','v1',6);
INSERT INTO "spent_rows" VALUES('home','kitchen','q3','v1',7);
CREATE TABLE task_sums (
	task VARCHAR(200) NOT NULL, 
	answered BIGINT NOT NULL, 
	covered BIGINT NOT NULL, 
	degraded BIGINT NOT NULL, 
	PRIMARY KEY (task)
);
INSERT INTO "task_sums" VALUES('home',180,160,0);
CREATE TABLE tasks (
	name VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	mode VARCHAR(20) NOT NULL, 
	exploration FLOAT NOT NULL, 
	champion INTEGER NOT NULL, 
	manifest_sha256 VARCHAR(64) NOT NULL, 
	phase VARCHAR(20) NOT NULL, 
	phase_note TEXT NOT NULL, 
	phase_progress FLOAT NOT NULL, 
	attempt INTEGER NOT NULL, 
	rows_seen INTEGER NOT NULL, 
	rows_at_refresh INTEGER NOT NULL, 
	refreshed_at FLOAT NOT NULL, 
	log_version_seen INTEGER NOT NULL, 
	watch VARCHAR(20) NOT NULL, 
	updated_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "tasks" VALUES('home',1,'serve',0.05,6,'0000000000000000000000000000000000000000000000000000000000000006','waiting','release 7: 120 rows, 1 lost',0.25,5,900,600,1789999940.0,12,'quiet',1790000000.0);
INSERT INTO "tasks" VALUES('car',2,'observe',1.0,0,'0000000000000000000000000000000000000000000000000000000000000000','idle','',0.0,0,0,0,0.0,-1,'unproven',1790000000.0);
CREATE TABLE traffic (
	task VARCHAR(200) NOT NULL, 
	slot INTEGER NOT NULL, 
	answered INTEGER NOT NULL, 
	covered INTEGER NOT NULL, 
	planned FLOAT NOT NULL, 
	PRIMARY KEY (task, slot)
);
INSERT INTO "traffic" VALUES('home',29833333,180,160,8.0);
CREATE TABLE turned_away (
	what VARCHAR(20) NOT NULL, 
	times BIGINT NOT NULL, 
	last VARCHAR(200) NOT NULL, 
	at FLOAT NOT NULL, 
	why VARCHAR(200) NOT NULL, 
	PRIMARY KEY (what)
);
INSERT INTO "turned_away" VALUES('devices',1,'stranger',1790000000.0,'the fleet is full');
CREATE TABLE twins (
	device VARCHAR(200) NOT NULL, 
	began FLOAT NOT NULL, 
	until FLOAT NOT NULL, 
	PRIMARY KEY (device, began)
);
INSERT INTO "twins" VALUES('hall',5.0,65.0);
CREATE TABLE used_devices (
	device VARCHAR(200) NOT NULL, 
	PRIMARY KEY (device)
);
INSERT INTO "used_devices" VALUES('kitchen');
CREATE TABLE versions_left (
	task VARCHAR(200) NOT NULL, 
	version INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	mode VARCHAR(20) NOT NULL, 
	PRIMARY KEY (task, version)
);
INSERT INTO "versions_left" VALUES('car',1,0,'serve');
CREATE INDEX ix_devices_seen_last_seen ON devices_seen (last_seen);
COMMIT;

"""The ledger's sums in rows of their own, several for accounts that many orders share; a transfer is one call.

``accounts`` becomes a view of names and sums, so that whoever reads it need not know in how many rows a sum stands.

The rows of an account, and what is locked in which order:

- A **spread** account (floats, charges, ``receivable``, ``fees``) has one row for each lane. All transfers of an order
  are of one lane, told from its id, so a resolution meets the row of its hold. Other accounts have one row, part 0.
- A transfer first locks the rows of its accounts that are not spread, in id order, then the lane (an advisory lock
  until the commit), then writes the lane's rows, which nobody else reaches without it. A commit is of one order and so
  of one lane: whoever waits for a lane holds none, and whoever holds one waits for no other.
- Rows that are not spread, and that two commits might want in different order, are locked before the first transfer
  (``ledger.lock``), or belong to what is locked: to an order, to a group.

So nobody waits in a circle, and nobody spends what another spends: money is spent from rows with a floor, and the floor
is looked at under the row's lock. A floor holds on each row, hence on the sum. ``fees``, spread and with a floor, is
credited in every lane and debited in part 0 alone, where a debit first gathers what is posted, under the locks of all.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# Nobody writes while the books are carried over; whoever has the shape before fails and is told so by its error.
CARRY = """
LOCK TABLE accounts, transfers IN ACCESS EXCLUSIVE MODE;
DROP TRIGGER accounts_guard ON accounts;
DROP TRIGGER accounts_kept ON accounts;
DROP TRIGGER transfers_apply ON transfers;
DROP FUNCTION accounts_guard();
ALTER TABLE accounts RENAME TO account_names;
ALTER TABLE account_names RENAME CONSTRAINT pk_accounts TO pk_account_names;
ALTER TABLE account_names RENAME CONSTRAINT uq_accounts_name TO uq_account_names_name;
ALTER SEQUENCE accounts_id_seq RENAME TO account_names_id_seq;
ALTER TABLE account_names ADD COLUMN spread boolean NOT NULL DEFAULT false;
ALTER TABLE account_names ALTER COLUMN spread DROP DEFAULT;
UPDATE account_names SET spread = account_is_spread(name) WHERE account_is_spread(name);

INSERT INTO account_parts (account, part, floor, debits_posted, credits_posted, debits_pending, credits_pending)
    SELECT id, 0, floor, debits_posted, credits_posted, debits_pending, credits_pending FROM account_names;
INSERT INTO account_parts (account, part, floor)
    SELECT id, part, floor FROM account_names, generate_series(1, ledger_lanes() - 1) AS part WHERE spread;
-- What is posted may stand in any part; what is pending stands where its resolution will look for it.
UPDATE account_parts SET debits_pending = 0 FROM account_names n WHERE n.id = account AND n.spread AND NOT n.floor;
UPDATE account_parts SET credits_pending = 0 FROM account_names n WHERE n.id = account AND n.spread;
WITH open AS (
    SELECT h.debit_account, h.credit_account, h.amount, transfer_lane(h.order_id, h.id) AS lane FROM transfers h
    WHERE h.kind = 'pending' AND NOT EXISTS (SELECT FROM transfers r WHERE r.pending_id = h.id)
), sides AS (
    SELECT debit_account AS account, lane, amount AS debits, 0 AS credits FROM open
        JOIN account_names n ON n.id = debit_account WHERE n.spread AND NOT n.floor
    UNION ALL SELECT credit_account, lane, 0, amount FROM open
        JOIN account_names n ON n.id = credit_account WHERE n.spread
), held AS (SELECT account, lane, sum(debits) AS debits, sum(credits) AS credits FROM sides GROUP BY account, lane)
UPDATE account_parts p SET debits_pending = debits_pending + debits, credits_pending = credits_pending + credits
    FROM held WHERE p.account = held.account AND p.part = held.lane;

DO $$ BEGIN
    IF EXISTS (
        SELECT FROM account_names n JOIN (
            SELECT account, sum(debits_posted) AS dp, sum(credits_posted) AS cp, sum(debits_pending) AS dq,
                sum(credits_pending) AS cq FROM account_parts GROUP BY account
        ) s ON s.account = n.id
        WHERE (n.debits_posted, n.credits_posted, n.debits_pending, n.credits_pending) <> (dp, cp, dq, cq)
    ) THEN
        RAISE EXCEPTION 'what accounts hold pending is not what their open transfers say';
    END IF;
END $$;

ALTER TABLE account_names DROP COLUMN debits_posted, DROP COLUMN credits_posted,
    DROP COLUMN debits_pending, DROP COLUMN credits_pending;
ANALYZE account_names, account_parts;
"""

# The number of lanes is that of the rows made: whoever changes it carries pending sums over, as CARRY does.
LANES = """
CREATE FUNCTION ledger_lanes() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 32';

-- One lane for all transfers of an order; another transfer has its own, and its resolution the same.
CREATE FUNCTION transfer_lane(order_id uuid, hold uuid) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT get_byte(uuid_send(coalesce(order_id, hold)), 15) % ledger_lanes()
$$;

-- Those that many orders share: of what is debited there no floor tells, or (fees) nothing is debited by orders.
-- A group's cash box has no floor either, and one row: whoever moves its cash has locked the group.
CREATE FUNCTION account_is_spread(name text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT name ~ '^(float|charges):' OR name IN ('receivable', 'fees')
$$;
"""

LEDGER = """
CREATE VIEW accounts AS
    SELECT n.id, n.name, n.currency, n.floor, s.debits_posted, s.credits_posted, s.debits_pending, s.credits_pending
    FROM account_names n LEFT JOIN LATERAL (
        SELECT sum(p.debits_posted)::bigint AS debits_posted, sum(p.credits_posted)::bigint AS credits_posted,
            sum(p.debits_pending)::bigint AS debits_pending, sum(p.credits_pending)::bigint AS credits_pending
        FROM account_parts p WHERE p.account = n.id
    ) s ON true;

CREATE FUNCTION account_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_parts (account, part, floor)
        SELECT NEW.id, part, NEW.floor
        FROM generate_series(0, CASE WHEN NEW.spread THEN ledger_lanes() - 1 ELSE 0 END) AS part;
    RETURN NULL;
END $$;
CREATE TRIGGER account_opened AFTER INSERT ON account_names FOR EACH ROW EXECUTE FUNCTION account_opened();
CREATE TRIGGER account_names_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON account_names
    FOR EACH STATEMENT EXECUTE FUNCTION never_changed();

CREATE FUNCTION account_parts_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Depth 1 is a statement of somebody's own; the ledger's triggers write from depth 2.
    IF pg_trigger_depth() = 1 THEN
        RAISE EXCEPTION 'accounts change by transfers alone';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_parts_guard BEFORE INSERT OR UPDATE ON account_parts
    FOR EACH ROW EXECUTE FUNCTION account_parts_guard();
CREATE TRIGGER account_parts_kept BEFORE DELETE OR TRUNCATE ON account_parts
    FOR EACH STATEMENT EXECUTE FUNCTION never_changed();

CREATE FUNCTION lane_lock(lane int) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock('account_parts'::regclass::oid::int, lane)
$$;

CREATE OR REPLACE FUNCTION transfers_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    held transfers;
    side account_names;
    sides int := 0;
    lane int := transfer_lane(NEW.order_id, NEW.id);
    at_part int;
    posted bigint := 0;
    pending bigint := 0;
BEGIN
    IF NEW.pending_id IS NOT NULL THEN
        SELECT * INTO held FROM transfers WHERE id = NEW.pending_id;
        IF held.kind <> 'pending' OR (held.debit_account, held.credit_account, held.amount, held.currency)
            IS DISTINCT FROM (NEW.debit_account, NEW.credit_account, NEW.amount, NEW.currency) THEN
            RAISE EXCEPTION 'a resolution repeats its pending transfer';
        END IF;
        lane := transfer_lane(held.order_id, held.id);
        pending := -NEW.amount;
    END IF;
    IF NEW.kind = 'pending' THEN pending := NEW.amount; END IF;
    IF NEW.kind IN ('single', 'post') THEN posted := NEW.amount; END IF;
    FOR side IN SELECT * FROM account_names
        WHERE id IN (NEW.debit_account, NEW.credit_account) AND currency = NEW.currency ORDER BY spread, id
    LOOP
        sides := sides + 1;
        at_part := 0;
        IF side.spread THEN
            PERFORM lane_lock(lane);
            at_part := lane;
        END IF;
        IF side.id = NEW.credit_account THEN
            UPDATE account_parts
                SET credits_posted = credits_posted + posted, credits_pending = credits_pending + pending
                WHERE account = side.id AND part = at_part;
        ELSE
            IF side.spread AND side.floor THEN
                PERFORM account_gather(side.id);
                at_part := 0;
            END IF;
            UPDATE account_parts
                SET debits_posted = debits_posted + posted, debits_pending = debits_pending + pending
                WHERE account = side.id AND part = at_part;
        END IF;
    END LOOP;
    IF sides <> 2 THEN
        RAISE EXCEPTION 'both accounts of a transfer hold its currency';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transfers_apply AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION transfers_apply();

-- Into part 0 what is posted in all of a spread account's parts, so that one floor decides what may be spent.
CREATE FUNCTION account_gather(gathered bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    total bigint;
BEGIN
    PERFORM FROM account_parts WHERE account = gathered ORDER BY part FOR NO KEY UPDATE;
    SELECT sum(credits_posted) INTO total FROM account_parts WHERE account = gathered;
    UPDATE account_parts SET credits_posted = CASE part WHEN 0 THEN total ELSE 0 END WHERE account = gathered;
END $$;

-- The account of a name, opened at its first use.
CREATE FUNCTION account_named(wanted text, held_in text) RETURNS account_names LANGUAGE plpgsql AS $$
DECLARE
    found account_names;
BEGIN
    SELECT * INTO found FROM account_names WHERE name = wanted AND currency = held_in;
    IF found.id IS NULL THEN
        INSERT INTO account_names (name, currency, floor, spread)
            VALUES (wanted, held_in, wanted !~ '^(float:|charges:|cash:|receivable)', account_is_spread(wanted))
            ON CONFLICT DO NOTHING;
        SELECT * INTO found FROM account_names WHERE name = wanted AND currency = held_in;
    END IF;
    RETURN found;
END $$;

-- False, and nothing written, where the debit account has less than that to spend.
CREATE FUNCTION ledger_transfer(transfer uuid, kind text, debit text, credit text, amount bigint, currency text,
    order_id uuid, reason text, at timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    source account_names := account_named(debit, currency);
    target account_names := account_named(credit, currency);
    held account_parts;
    spendable bigint := 0;
BEGIN
    IF source.floor THEN
        -- Locked as the trigger will lock them, and read as they then are.
        FOR held IN SELECT p.* FROM account_parts p JOIN account_names n ON n.id = p.account
            WHERE n.id IN (source.id, target.id) AND NOT n.spread ORDER BY p.account FOR NO KEY UPDATE OF p
        LOOP
            IF held.account = source.id THEN
                spendable := held.credits_posted - held.debits_posted - held.debits_pending;
            END IF;
        END LOOP;
        IF source.spread THEN
            PERFORM lane_lock(transfer_lane(order_id, transfer));
            FOR held IN SELECT * FROM account_parts WHERE account = source.id ORDER BY part FOR NO KEY UPDATE LOOP
                spendable := spendable + held.credits_posted - held.debits_posted - held.debits_pending;
            END LOOP;
        END IF;
        IF spendable < amount THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount, currency, order_id, reason, at)
        VALUES (transfer, kind, source.id, target.id, amount, currency, order_id, reason, at);
    RETURN true;
END $$;

-- False where no such transfer is known; its second resolution is refused by the unique pending_id.
CREATE FUNCTION ledger_resolve(transfer uuid, kind text, pending uuid, reason text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount, currency, pending_id, order_id, reason, at)
        SELECT transfer, ledger_resolve.kind, h.debit_account, h.credit_account, h.amount, h.currency, h.id, h.order_id,
            ledger_resolve.reason, ledger_resolve.at
        FROM transfers h WHERE h.id = pending;
    RETURN FOUND;
END $$;
"""


def upgrade() -> None:
    """Carry the books over."""
    op.execute(LANES)
    op.create_table(
        "account_parts",
        sa.Column("account", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("floor", sa.Boolean(), nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "NOT floor OR debits_posted + debits_pending <= credits_posted", name=op.f("ck_account_parts_floor")
        ),
        sa.CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
            name=op.f("ck_account_parts_no_negative_sum"),
        ),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_account_parts_account")),
        sa.PrimaryKeyConstraint("account", "part", name=op.f("pk_account_parts")),
    )
    op.execute(CARRY)
    op.execute(LEDGER)

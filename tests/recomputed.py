"""The ledger's sums told anew from the transfers alone, and the accounts whose stored ones differ."""

from sqlalchemy import text

from ussd_app.store import Look

DIFFERING = text("""
    WITH moved AS (
        SELECT account, sum(debit * posted) AS debits_posted, sum(credit * posted) AS credits_posted,
            sum(debit * pending) AS debits_pending, sum(credit * pending) AS credits_pending
        FROM (
            SELECT debit_account AS account, amount AS debit, 0 AS credit, kind FROM transfers
            UNION ALL SELECT credit_account, 0, amount, kind FROM transfers
        ) t JOIN (VALUES ('single', 1, 0), ('pending', 0, 1), ('post', 1, -1), ('void', 0, -1))
            k (kind, posted, pending) USING (kind)
        GROUP BY account
    )
    SELECT a.name FROM accounts a LEFT JOIN moved m ON m.account = a.id
    WHERE (a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending) IS DISTINCT FROM
        (coalesce(m.debits_posted, 0), coalesce(m.credits_posted, 0),
         coalesce(m.debits_pending, 0), coalesce(m.credits_pending, 0))
        OR (a.floor AND a.debits_posted + a.debits_pending > a.credits_posted)
    ORDER BY a.name
""")


async def differing(connection: Look) -> list[str]:
    """The names of accounts whose sums are not those of their transfers, or that are below their floor."""
    return list((await connection.execute(DIFFERING)).scalars())

"""PostgreSQL: roles, pools, the only places that open and commit transactions, migrations.

SQL statements live in the modules that own them; this package owns how they reach the database.
"""

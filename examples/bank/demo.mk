# What `make demo EXAMPLE=bank` serves, and what it shows to try.

ENTITIES := bank.account_entity:entity bank.transfer_entity:entity bank.bank_action:action

define TRY
  curl -X POST http://127.0.0.1:$(PORT)/accounts/alice -H 'content-type: application/json' -d '{"owner": "Alice"}'
  curl -X POST http://127.0.0.1:$(PORT)/accounts/bob -H 'content-type: application/json' -d '{"owner": "Bob"}'
  curl -X POST http://127.0.0.1:$(PORT)/accounts/alice/deposit -H 'content-type: application/json' -d '{"cents": 10000}'
  curl -X POST http://127.0.0.1:$(PORT)/transfers/rent -H 'content-type: application/json' -d '{"fromAccount": "alice", "toAccount": "bob", "cents": 2550}'
  curl http://127.0.0.1:$(PORT)/transfers/rent
  curl 'http://127.0.0.1:$(PORT)/report?accountIds=alice&accountIds=bob'
or a transfer that cannot arrive, and is given back:
  curl -X POST http://127.0.0.1:$(PORT)/transfers/lost -H 'content-type: application/json' -d '{"fromAccount": "alice", "toAccount": "nobody", "cents": 100}'
  curl http://127.0.0.1:$(PORT)/transfers/lost
or over gRPC:
  cd examples/bank && ../../$(VENV)/python -m bank.client --address 127.0.0.1:$(PORT) report alice bob
endef

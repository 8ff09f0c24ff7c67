# What `make demo EXAMPLE=presence` serves, and what it shows to try.

ENTITIES := presence.room_entity:entity

define TRY
  curl -N http://127.0.0.1:$(PORT)/rooms/lobby/watch -H 'accept: text/event-stream'
and in further terminals, as long as they last:
  curl -N http://127.0.0.1:$(PORT)/rooms/lobby/enter/joe
  curl -N http://127.0.0.1:$(PORT)/rooms/lobby/enter/ann
or over gRPC:
  cd examples/presence && ../../$(VENV)/python -m presence.client --address 127.0.0.1:$(PORT) lobby enter kim
endef

"""Enter a room, or watch it, over gRPC with the generated stub.

Run it beside `make demo EXAMPLE=presence`:

    python -m presence.client lobby             # who is in the lobby
    python -m presence.client lobby watch       # and whenever that changes, until Ctrl-C
    python -m presence.client lobby enter joe   # be there as joe, until Ctrl-C
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import grpc

from presence.presence_pb2 import People, Room, Visitor
from presence.presence_pb2_grpc import PresenceStub


def main() -> None:
    """Carry out one command and show who is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="127.0.0.1:9000", help="host and port")
    parser.add_argument("room", help="which room")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("watch", help="show who is there whenever that changes")
    enter = commands.add_parser("enter", help="be there")
    enter.add_argument("name")
    given = parser.parse_args()

    with grpc.insecure_channel(given.address) as channel:
        try:
            for people in answers(PresenceStub(channel), given):
                print(", ".join(shown(people)) or "nobody", flush=True)
        except grpc.RpcError as error:
            parser.exit(1, f"{error.code().name}: {error.details()}\n")
        except KeyboardInterrupt:
            pass


def answers(presence: PresenceStub, given: argparse.Namespace) -> Iterator[People]:
    """Call what is asked for."""
    room = Room(room=given.room)
    match given.command:
        case "enter":
            yield from presence.Enter(Visitor(room=given.room, name=given.name))
        case "watch":
            yield from presence.Watch(room)
        case _:
            yield presence.Who(room)


def shown(people: People) -> Iterator[str]:
    """Name each of them, with the number of nodes if it is more than one."""
    for person in people.people:
        yield person.name if person.nodes == 1 else f"{person.name} (on {person.nodes} nodes)"


if __name__ == "__main__":
    main()

"""The contracts that kinds, stores, front ends and the runtime meet at."""

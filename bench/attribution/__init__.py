"""How well network A's images are told from others, by today's methods: the tables of bench/attribution.md."""

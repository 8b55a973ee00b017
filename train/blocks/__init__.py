"""Parts that several published networks share: each is written once, here."""

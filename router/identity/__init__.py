"""Who is who: names in certificates, who may call what, and the files of an identity."""

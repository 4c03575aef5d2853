"""What a query may tell, and to whom: texts with what names a person taken out, and what may not leave its device."""

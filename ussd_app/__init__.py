"""A USSD and SMS application for African mobile money."""
